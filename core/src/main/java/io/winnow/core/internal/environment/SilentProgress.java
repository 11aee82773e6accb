package io.winnow.core.internal.environment;

import ai.djl.util.Progress;
import org.jspecify.annotations.Nullable;

/** The listener of a host that gave none. */
public final class SilentProgress implements Progress {
  private static final SilentProgress INSTANCE = new SilentProgress();

  private SilentProgress() {}

  /** Returns a listener, or one that does nothing for none. */
  public static Progress unless(@Nullable Progress given) {
    return given == null ? INSTANCE : given;
  }

  @Override
  public void reset(String message, long max, String trailingMessage) {}

  @Override
  public void start(long initialProgress) {}

  @Override
  public void end() {}

  @Override
  public void increment(long increment) {}

  @Override
  public void update(long progress, String message) {}
}
