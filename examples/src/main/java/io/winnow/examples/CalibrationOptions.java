package io.winnow.examples;

import io.winnow.core.Calibration;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The options of every command that calibrates. */
final class CalibrationOptions {
  @Option(
      names = "--calib",
      required = true,
      paramLabel = "FILE",
      description =
          "calibration text: .txt, .jsonl (field 'text'), or .safetensors with token ids (tensor"
              + " 'input_ids' [sequences, length])")
  private Path calib;

  @Option(
      names = "--sequences",
      paramLabel = "N",
      defaultValue = "128",
      description = "sequences to calibrate on (default: ${DEFAULT-VALUE}, or all there are)")
  private int sequences;

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

  Calibration read(ModelOptions model, ModelLimits limits) {
    return TokenFiles.calibration(
        model.folder(), calib, sequences, length, limits.maxPositions(), seed);
  }
}
