package io.winnow.examples.cli.run;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.CalibrationOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.skipping.BetaSkipPolicy;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow calibrate-skip}. */
@Command(
    name = "calibrate-skip",
    mixinStandardHelpOptions = true,
    description = "Finds the thresholds by which experts are skipped while generating.",
    footer = {
      "",
      "Example:",
      "  winnow calibrate-skip --model Mixtral-8x7B-r6 --calib c4.txt --out policy.json",
      "  winnow generate --model Mixtral-8x7B-r6 --skip policy.json --prompt 'def '"
    })
final class CalibrateSkipCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private CalibrationOptions calibrationOptions;

  @Option(
      names = "--rate",
      paramLabel = "SHARE",
      defaultValue = "0.5",
      description =
          "share of the experts that could be skipped, all but a token's first, to skip (default:"
              + " ${DEFAULT-VALUE})")
  private double rate;

  @Option(
      names = "--out",
      required = true,
      paramLabel = "FILE.json",
      description = "policy to write")
  private Path out;

  @Override
  public Integer call() throws Exception {
    if (!(rate >= 0 && rate <= 1)) {
      throw new InvalidInputException("--rate is " + rate + "; use a share from 0 to 1");
    }
    Outputs.requireFile("--out", out);
    ModelLimits limits = model.check();
    Calibration calibration = calibrationOptions.read(model, limits);
    try (Model loaded = model.load()) {
      BetaSkipPolicy policy = SkipPolicy.calibrate(loaded, calibration, rate);
      policy.write(out);
      for (int i = 0; i < policy.betas().size(); i++) {
        System.out.printf(Locale.ROOT, "MoE layer %d: beta %.4f%n", i, policy.betas().get(i));
      }
      System.out.println("Written to " + out);
    }
    return 0;
  }
}
