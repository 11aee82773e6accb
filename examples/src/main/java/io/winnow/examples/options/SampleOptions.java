package io.winnow.examples.options;

import io.winnow.core.calibration.Calibration;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.TextFormat;
import io.winnow.examples.files.TokenFiles;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What of a text is sampled: {@code --sequences}, {@code --length} and {@code --seed}. */
public final class SampleOptions {
  private static final int SEQUENCES = 128;

  @Option(
      names = "--sequences",
      paramLabel = "N",
      description = "sequences to calibrate on (default: " + SEQUENCES + ", or all there are)")
  private @Nullable Integer sequences;

  @Mixin private TextFormatOptions format;
  @Mixin private LengthOptions length;
  @Mixin private SeedOptions seed;

  /** Returns whether an option says what to sample. */
  public boolean isGiven() {
    return sequences != null || length.length() != null;
  }

  /** Returns how many sequences are wanted. */
  public int sequences() {
    return sequences == null ? SEQUENCES : sequences;
  }

  /** Returns the tokens of each; null for the default. */
  public @Nullable Integer length() {
    return length.length();
  }

  /** Returns how text files are read. */
  public TextFormat format() {
    return format.format();
  }

  /** Returns the seed of the sample, and of what else is drawn. */
  public long seed() {
    return seed.seed();
  }

  /** Reads a sample of a file. */
  public Calibration read(Path model, Path file, ModelLimits limits) {
    return TokenFiles.calibration(
        model, file, format(), sequences(), length(), limits.maxPositions(), seed());
  }
}
