package io.winnow.examples;

import com.google.common.primitives.Doubles;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The options of every command that calibrates. */
final class CalibrationOptions {
  private static final int SEQUENCES = 128;

  @Option(
      names = "--calib",
      paramLabel = "FILE[:WEIGHT]",
      description =
          "calibration text: .txt, .jsonl (field 'text'), or .safetensors with token ids (tensor"
              + " 'input_ids' [sequences, length]); several with weights are mixed")
  private List<String> calib = List.of();

  @Option(
      names = "--sequences",
      paramLabel = "N",
      description = "sequences to calibrate on (default: " + SEQUENCES + ", or all there are)")
  private @Nullable Integer sequences;

  @Option(
      names = "--length",
      paramLabel = "L",
      description = "tokens per sequence (default: 2048, or the model's positions if fewer)")
  private @Nullable Integer length;

  @Option(
      names = "--seed",
      paramLabel = "S",
      defaultValue = "0",
      description = "seed of the sample and of random choice (default: ${DEFAULT-VALUE})")
  private long seed;

  long seed() {
    return seed;
  }

  /** Returns whether an option says what to calibrate on. */
  boolean isGiven() {
    return !calib.isEmpty() || sequences != null || length != null;
  }

  Calibration read(ModelOptions model, ModelLimits limits) {
    if (calib.isEmpty()) {
      throw new InvalidInputException("Missing required option: '--calib=FILE[:WEIGHT]'");
    }
    return read(calib, model, limits, sequences == null ? SEQUENCES : sequences, length, seed);
  }

  /** Reads a calibration from a file, or mixes those of several; each may have {@code :WEIGHT}. */
  static Calibration read(
      List<String> files,
      ModelOptions model,
      ModelLimits limits,
      int sequences,
      @Nullable Integer length,
      long seed) {
    List<Calibration.Share> shares =
        files.stream().map(one -> share(one, model, limits, sequences, length, seed)).toList();
    // A source alone may have a weight, which says nothing.
    return shares.size() == 1 ? shares.get(0).calibration() : Calibration.mix(sequences, shares);
  }

  private static Calibration.Share share(
      String option,
      ModelOptions model,
      ModelLimits limits,
      int sequences,
      @Nullable Integer length,
      long seed) {
    Path file = Path.of(option);
    double weight = 1;
    int colon = option.lastIndexOf(':');
    if (colon > 0 && !Files.exists(file)) {
      Double number = Doubles.tryParse(option.substring(colon + 1));
      if (number != null) {
        weight = number;
        file = Path.of(option.substring(0, colon));
      }
    }
    return new Calibration.Share(
        String.valueOf(file.getFileName()),
        TokenFiles.calibration(
            model.folder(), file, sequences, length, limits.maxPositions(), seed),
        weight);
  }
}
