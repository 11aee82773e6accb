package io.winnow.examples.options;

import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** {@code --length}: into how long pieces text is cut. */
public final class LengthOptions {
  @Option(
      names = "--length",
      paramLabel = "L",
      description =
          "tokens per sequence or window (default: 2048, or the model's positions if fewer)")
  private @Nullable Integer length;

  /** Returns the length; null for the default. */
  public @Nullable Integer length() {
    return length;
  }
}
