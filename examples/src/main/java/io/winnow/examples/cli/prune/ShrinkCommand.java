package io.winnow.examples.cli.prune;

import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.console.ShrinkTable;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.CalibrationOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.Numbers;
import io.winnow.examples.options.OutFolderOptions;
import io.winnow.examples.options.ReportFileOptions;
import io.winnow.pruning.shrink.ModelShrinker;
import io.winnow.pruning.shrink.ShrinkReport;
import io.winnow.pruning.shrink.SizeLimit;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow shrink}. */
@Command(
    name = "shrink",
    mixinStandardHelpOptions = true,
    description = {
      "Makes the best model of a given size: tries fewer experts, narrower ones and both, repaired,"
          + " measures each against the full model on text that was left out, and writes the"
          + " nearest. Transformers and what reads its checkpoints can load it."
    },
    footer = {
      "",
      "Example: half of the experts' weights:",
      "  winnow shrink --model Qwen3-30B-A3B --calib code.txt --keep 0.5 --out Qwen3-half"
    })
final class ShrinkCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private CalibrationOptions calibrationOptions;

  @Option(
      names = "--keep",
      paramLabel = "SHARE",
      description = "share of the routed experts' elements that may stay; routers do not count")
  private @Nullable Double keep;

  @Option(
      names = "--size",
      paramLabel = "MB",
      description = "size of all weight files, in 10^6 bytes, in place of --keep")
  private @Nullable Double size;

  @Option(
      names = "--multiple-of",
      paramLabel = "N",
      defaultValue = "8",
      description =
          "what widths must be a multiple of; Transformers needs 8 in bfloat16, other formats 32 or"
              + " more (default: ${DEFAULT-VALUE})")
  private int multiple;

  @Mixin private RepairOptions repair;

  @Mixin private OutFolderOptions out;

  @Mixin private ReportFileOptions report;

  @Option(
      names = "--plan",
      paramLabel = "FILE.json",
      description = "plan to write, for 'winnow apply'; the repair is not part of it")
  private @Nullable Path plan;

  @Override
  public Integer call() throws Exception {
    report.check(out.folder());
    Outputs.requireFile("--plan", plan, out.folder());
    Outputs.requireDifferent("--report", report.file(), "--plan", plan);
    ModelLimits limits = model.check();
    out.checkNew(model.folder());
    Numbers.requirePositive("--multiple-of", multiple);
    SizeLimit limit = limit();
    if (!model.isFloat32()) {
      throw new InvalidInputException(
          "Shrinking computes in float32; leave out --dtype, whatever type is stored");
    }
    Calibration calibration = calibrationOptions.read(model, limits);
    ShrinkReport result =
        ModelShrinker.builder()
            .optMemory(repair.memoryBytes())
            .optMultipleOf(multiple)
            .optDevice(model.device())
            .optSeed(calibrationOptions.seed())
            .optProgress(new ConsoleProgress())
            .build()
            .shrink(model.folder(), calibration, limit, out.folder());
    if (report.file() != null) {
      result.write(report.file());
    }
    if (plan != null) {
      result.written().plan().write(plan);
    }
    System.out.print(ShrinkTable.of(result));
    out.printWritten();
    return 0;
  }

  private SizeLimit limit() {
    if (keep != null && size == null) {
      return new SizeLimit.Share(keep);
    }
    if (size != null && keep == null) {
      if (!(size > 0) || size > Long.MAX_VALUE / 1e6) {
        throw new InvalidInputException("--size is " + size + "; use a number of MB above 0");
      }
      return new SizeLimit.FileSize((long) (size * 1e6));
    }
    throw new InvalidInputException("Say how small: use one of --keep and --size");
  }
}
