package io.winnow.examples.cli.prune;

import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.console.NarrowingTable;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.CalibrationOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.Numbers;
import io.winnow.examples.options.OutFolderOptions;
import io.winnow.examples.options.ReportFileOptions;
import io.winnow.pruning.PruningPlan;
import io.winnow.pruning.shrink.ExpertNarrower;
import io.winnow.pruning.shrink.NarrowingReport;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow narrow}. */
@Command(
    name = "narrow",
    mixinStandardHelpOptions = true,
    description =
        "Makes every expert narrower, and fits what is left to what was lost. Computes in float32,"
            + " layer by layer.",
    footer = {
      "",
      "Example: experts of half their width:",
      "  winnow narrow --model Qwen3-30B-A3B --calib code.txt --share 0.5 \\",
      "      --out Qwen3-half --report report.json --plan plan.json"
    })
final class NarrowCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private CalibrationOptions calibrationOptions;

  @Option(names = "--width", paramLabel = "M", description = "channels that each expert keeps")
  private @Nullable Integer width;

  @Option(
      names = "--share",
      paramLabel = "SHARE",
      description = "share of its channels that each expert keeps at most, in place of --width")
  private @Nullable Double share;

  @Option(
      names = "--multiple-of",
      paramLabel = "N",
      defaultValue = "8",
      description =
          "what widths must be a multiple of; Transformers needs 8 in bfloat16, other formats 32 or"
              + " more (default: ${DEFAULT-VALUE})")
  private int multiple;

  @Option(
      names = "--prune-plan",
      paramLabel = "FILE.json",
      description = "a plan that 'winnow prune --plan' wrote: other experts are removed as well")
  private @Nullable Path prunePlan;

  @Option(names = "--no-repair", description = "cut only, and leave the weights as they are")
  private boolean noRepair;

  @Mixin private RepairOptions repair;

  @Mixin private OutFolderOptions out;

  @Mixin private ReportFileOptions report;

  @Option(
      names = "--plan",
      paramLabel = "FILE.json",
      description = "plan to write, for 'winnow apply'; a repair is not part of it")
  private @Nullable Path plan;

  @Override
  public Integer call() throws Exception {
    report.check(out.folder());
    Outputs.requireFile("--plan", plan, out.folder());
    Outputs.requireDifferent("--report", report.file(), "--plan", plan);
    ModelLimits limits = model.check();
    out.checkNew(model.folder());
    Numbers.requirePositive("--width", width);
    Numbers.requirePositive("--multiple-of", multiple);
    if ((width == null) == (share == null)) {
      throw new InvalidInputException("Say how narrow: use one of --width and --share");
    }
    if (!model.isFloat32()) {
      throw new InvalidInputException(
          "Narrowing computes in float32; leave out --dtype, whatever type is stored");
    }
    ExpertNarrower narrower =
        ExpertNarrower.builder()
            .optRepair(!noRepair)
            .optMemory(repair.memoryBytes())
            .optMultipleOf(multiple)
            .optDevice(model.device())
            .optProgress(new ConsoleProgress())
            .build();
    int wanted = width != null ? width : narrower.widthOf(model.folder(), wantedShare());
    PruningPlan removed = prunePlan == null ? null : PruningPlan.read(prunePlan);
    Calibration calibration = calibrationOptions.read(model, limits);
    NarrowingReport result =
        removed == null
            ? narrower.narrow(model.folder(), calibration, wanted, out.folder())
            : narrower.narrow(model.folder(), calibration, removed, wanted, out.folder());
    if (report.file() != null) {
      result.write(report.file());
    }
    if (plan != null) {
      result.plan().write(plan);
    }
    System.out.print(NarrowingTable.of(result));
    out.printWritten();
    return 0;
  }

  private double wantedShare() {
    return share == null ? 1 : share;
  }
}
