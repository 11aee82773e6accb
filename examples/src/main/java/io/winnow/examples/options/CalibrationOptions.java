package io.winnow.examples.options;

import com.google.common.primitives.Doubles;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.examples.files.ModelLimits;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The options of every command that calibrates. */
public final class CalibrationOptions {
  @Option(
      names = "--calib",
      paramLabel = "FILE[:WEIGHT]",
      description =
          "calibration text: " + TextFormatOptions.FILES + "; several with weights are mixed")
  private List<String> calib = List.of();

  @Mixin private SampleOptions sample;

  /** Returns the seed of the sample, and of what else is drawn. */
  public long seed() {
    return sample.seed();
  }

  /** Returns whether an option says what to calibrate on. */
  public boolean isGiven() {
    return !calib.isEmpty() || sample.isGiven();
  }

  /** Reads the calibration, and says on standard error what it is. */
  public Calibration read(ModelOptions model, ModelLimits limits) {
    if (calib.isEmpty()) {
      throw new InvalidInputException("Missing required option: '--calib=FILE[:WEIGHT]'");
    }
    Calibration calibration = read(calib, sample, model, limits);
    System.err.println("Calibrating on " + calibration.description());
    return calibration;
  }

  /** Reads a calibration from a file, or mixes those of several; each may have {@code :WEIGHT}. */
  public static Calibration read(
      List<String> files, SampleOptions sample, ModelOptions model, ModelLimits limits) {
    List<Calibration.Share> shares =
        files.stream().map(one -> share(one, sample, model, limits)).toList();
    // A source alone may have a weight, which says nothing.
    return shares.size() == 1
        ? shares.get(0).calibration()
        : Calibration.mix(sample.sequences(), shares);
  }

  private static Calibration.Share share(
      String option, SampleOptions sample, ModelOptions model, ModelLimits limits) {
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
        String.valueOf(file.getFileName()), sample.read(model.folder(), file, limits), weight);
  }
}
