package io.winnow.examples.options;

import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** {@code --windows}: how much of a text is measured. */
public final class WindowOptions {
  private static final String WINDOWS = "--windows";

  @Option(
      names = WINDOWS,
      paramLabel = "N",
      description = "use the first N windows, or all there are if fewer (default: all)")
  private @Nullable Integer windows;

  /** Refuses a number below 1. */
  public void check() {
    Numbers.requirePositive(WINDOWS, windows);
  }

  /** Returns the number of windows at most; null for all. */
  public @Nullable Integer most() {
    return windows;
  }
}
