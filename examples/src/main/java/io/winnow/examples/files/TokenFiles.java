package io.winnow.examples.files;

import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Turns the files of --calib and --text into tokens, whatever they hold. */
public final class TokenFiles {
  private TokenFiles() {}

  /** Reads a seeded sample of blocks. */
  public static Calibration calibration(
      Path model,
      Path file,
      TextFormat format,
      int sequences,
      @Nullable Integer length,
      int maxPositions,
      long seed) {
    Calibration.Builder builder =
        Calibration.builder()
            .setSource(file)
            .optTextField(format.field())
            .optPlainText(format.plain())
            .optSequences(sequences)
            .optMaxPositions(maxPositions)
            .optSeed(seed);
    if (length != null) {
      builder.optLength(length);
    }
    if (isTokens(file)) {
      return builder.build();
    }
    try (TextTokenizer tokenizer = TextTokenizer.open(model)) {
      return builder.optTokenizer(tokenizer).build();
    }
  }

  /** Reads windows in the order of the text, the first {@code most} of them. */
  public static TokenSequences windows(
      Path model,
      Path file,
      TextFormat format,
      @Nullable Integer length,
      int maxPositions,
      @Nullable Integer most) {
    TokenSequences all =
        calibration(model, file, format, Integer.MAX_VALUE, length, maxPositions, 0).sequences();
    return most == null || most >= all.count() ? all : all.slice(0, most);
  }

  /** Whether a file holds token ids, which need no tokenizer, or has a name that says so. */
  public static boolean isTokens(Path file) {
    return SafetensorsFile.isSafetensors(file);
  }
}
