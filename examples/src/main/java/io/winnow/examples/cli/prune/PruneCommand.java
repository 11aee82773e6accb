package io.winnow.examples.cli.prune;

import ai.djl.Device;
import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.console.NarrowingTable;
import io.winnow.examples.console.ReportTable;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.CalibrationOptions;
import io.winnow.examples.options.GroupOptions;
import io.winnow.examples.options.MethodNames;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.OutFolderOptions;
import io.winnow.examples.options.ReportFileOptions;
import io.winnow.pruning.CalibrationStatistics;
import io.winnow.pruning.ExpertBudget;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.shrink.ExpertNarrower;
import io.winnow.pruning.shrink.NarrowingReport;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow prune}. */
@Command(
    name = "prune",
    mixinStandardHelpOptions = true,
    description = "Removes experts from a checkpoint, and says what it cost.",
    footer = {
      "",
      "Example: 8 -> 6 experts a layer, chosen on code:",
      "  winnow prune --model Mixtral-8x7B --calib code.txt --retain 6 \\",
      "      --out Mixtral-8x7B-r6 --report report.json --plan plan.json"
    })
final class PruneCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private CalibrationOptions calibrationOptions;

  @Mixin private BudgetOptions budgetOptions;

  @Option(
      names = "--stats",
      paramLabel = "FILE",
      description = "statistics of 'winnow calibrate', in place of --calib: no calibration is run")
  private @Nullable Path stats;

  @Option(
      names = "--method",
      paramLabel = "M",
      defaultValue = "reconstruction",
      description =
          "reconstruction (NAEE), reap, ean, man, msan, leave-one-out, frequency, soft-activation or"
              + " random (default: ${DEFAULT-VALUE})")
  private String method;

  @Option(
      names = "--progressive",
      description = "judge each layer behind the layers pruned before it")
  private boolean progressive;

  @Option(
      names = "--repair",
      description =
          "fit the last matrices of the experts that stay to what was lost; layer by layer, in"
              + " float32")
  private boolean repaired;

  @Mixin private RepairOptions repair;

  @Mixin private GroupOptions groups;

  @Mixin private OutFolderOptions out;

  @Mixin private ReportFileOptions report;

  @Option(
      names = "--plan",
      paramLabel = "FILE.json",
      description = "plan to write, for 'winnow apply'")
  private @Nullable Path plan;

  @Mixin private StreamOptions streamOptions;

  @Override
  public Integer call() throws Exception {
    ExpertPruner.Builder builder =
        ExpertPruner.builder()
            .optMethod(MethodNames.methodOf("--method", method))
            .optProgressive(progressive)
            .optSequencesPerGroup(groups.sequences())
            .optSeed(calibrationOptions.seed())
            .optMemory(streamOptions.memoryBytes())
            .optProgress(new ConsoleProgress());
    report.check(out.folder());
    Outputs.requireFile("--plan", plan, out.folder());
    Outputs.requireDifferent("--report", report.file(), "--plan", plan);
    ModelLimits limits = model.check();
    if (stats != null && (calibrationOptions.isGiven() || progressive || groups.sequences() != 0)) {
      throw new InvalidInputException(
          "--stats holds what was seen in a calibration; leave out --calib, --sequences, --length,"
              + " --progressive and --group-sequences ('winnow calibrate' has them)");
    }
    ExpertBudget budget = budgetOptions.read(model.folder(), limits);
    boolean streaming = stats == null && streamOptions.isWanted(model, progressive);
    if (streaming && budgetOptions.retain() == null) {
      throw new InvalidInputException(
          "A total is divided when all layers have been seen, and --stream writes one after the"
              + " other; use --retain, or prune the model in memory");
    }
    if (repaired && (streaming || stats != null)) {
      throw new InvalidInputException(
          "--repair needs the calibration and a model that fits into memory to choose experts; leave"
              + " out --stream and --stats");
    }
    Device[] devices = streamOptions.devices(model);
    if (!streaming) {
      out.checkNew(model.folder());
    }
    int threads = Math.max(Runtime.getRuntime().availableProcessors(), devices.length + 1);
    ExecutorService executor = Executors.newFixedThreadPool(threads);
    try {
      if (stats != null) {
        fromStatistics(stats, budget, executor);
        return 0;
      }
      Calibration calibration = calibrationOptions.read(model, limits);
      ExpertPruner pruner = builder.optDevices(devices).optExecutor(executor).build();
      if (repaired) {
        repair(pruner, calibration, budget);
        return 0;
      }
      if (!streaming) {
        try (Model loaded = model.load()) {
          PruningReport result = pruner.pruneInPlace(loaded, calibration, budget);
          MoeModels.save(loaded, out.folder(), new ConsoleProgress());
          finish(result);
        }
        return 0;
      }
      int retain = Objects.requireNonNull(budgetOptions.retain());
      if (streamOptions.isDryRun()) {
        System.out.print(
            StreamOptions.table(
                pruner.estimateCheckpoint(model.folder(), calibration, retain, out.folder())));
      } else {
        finish(pruner.pruneCheckpoint(model.folder(), calibration, retain, out.folder()));
      }
    } finally {
      executor.shutdownNow();
    }
    return 0;
  }

  private void repair(ExpertPruner pruner, Calibration calibration, ExpertBudget budget)
      throws IOException {
    PruningReport result;
    try (Model loaded = model.load()) {
      result = pruner.search(loaded, calibration, budget);
    }
    NarrowingReport fitted =
        ExpertNarrower.builder()
            .optMemory(repair.memoryBytes())
            .optDevice(model.device())
            .optProgress(new ConsoleProgress())
            .build()
            .prune(model.folder(), calibration, result.plan(), out.folder());
    System.out.print(NarrowingTable.of(fitted));
    finish(result);
  }

  private void fromStatistics(Path file, ExpertBudget budget, ExecutorService executor)
      throws IOException {
    try (Model loaded = model.load()) {
      PruningReport result =
          CalibrationStatistics.read(file, loaded)
              .choose(
                  MethodNames.methodOf("--method", method),
                  budget,
                  calibrationOptions.seed(),
                  executor);
      result.plan().applyTo(loaded);
      MoeModels.save(loaded, out.folder(), new ConsoleProgress());
      finish(result);
    }
  }

  private void finish(PruningReport result) throws IOException {
    if (report.file() != null) {
      result.write(report.file());
    }
    if (plan != null) {
      result.plan().write(plan);
    }
    System.out.print(ReportTable.of(result));
    out.printWritten();
  }
}
