package io.winnow.examples.cli.prune;

import ai.djl.Model;
import io.winnow.core.calibration.Calibration;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.CalibrationOptions;
import io.winnow.examples.options.GroupOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.pruning.CalibrationStatistics;
import io.winnow.pruning.ExpertPruner;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow calibrate}. */
@Command(
    name = "calibrate",
    mixinStandardHelpOptions = true,
    description =
        "Runs a calibration once, and writes what any method can choose any number of experts from.",
    footer = {
      "",
      "Example:",
      "  winnow calibrate --model Mixtral-8x7B --calib code.txt:0.7 --calib prose.txt:0.3 \\",
      "      --out stats.winnow",
      "  winnow prune --model Mixtral-8x7B --stats stats.winnow --retain 6 --out Mixtral-8x7B-r6",
      "  winnow prune --model Mixtral-8x7B --stats stats.winnow --method reap --total 192 --out reap"
    })
final class CalibrateCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private CalibrationOptions calibrationOptions;

  @Mixin private GroupOptions groups;

  @Option(names = "--out", required = true, paramLabel = "FILE", description = "file to write")
  private Path out;

  @Override
  public Integer call() throws Exception {
    Outputs.requireNew("--out", out);
    ModelLimits limits = model.check();
    Calibration calibration = calibrationOptions.read(model, limits);
    try (Model loaded = model.load()) {
      CalibrationStatistics statistics =
          ExpertPruner.builder()
              .optSequencesPerGroup(groups.sequences())
              .optProgress(new ConsoleProgress())
              .build()
              .calibrate(loaded, calibration);
      statistics.write(out);
      System.out.printf(
          Locale.ROOT,
          "%d layers, %d tokens, %.1f MB%nWritten to %s%n",
          statistics.layers().size(),
          statistics.tokens(),
          Files.size(out) / 1e6,
          out);
    }
    return 0;
  }
}
