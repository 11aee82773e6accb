package io.winnow.core.internal.environment;

/**
 * Keeps DJL from calling home. When an engine or a tokenizer starts, DJL asks the cloud's metadata
 * address who it is running on and, if it is answered, reports its use; where there is no such
 * address the attempt costs seconds.
 *
 * <p>For Winnow's own packages: public only because other rooms that start the engine lie outside
 * this one. A host application has no need of it, and may ask for the reports itself: {@code
 * -DOPT_OUT_TRACKING=false}.
 */
public final class Telemetry {
  private static final String PROPERTY = "OPT_OUT_TRACKING";

  private Telemetry() {}

  /**
   * Opts out of DJL's usage reports, unless the host has set the system property {@code
   * OPT_OUT_TRACKING}, to whatever value, itself. To be called before anything of DJL's engine or
   * tokenizers is touched; calling it again does nothing. DJL reads an environment variable of the
   * same name first, so that one is the host's decision too. Safe to call from any thread.
   */
  public static void off() {
    System.getProperties().putIfAbsent(PROPERTY, "true");
  }
}
