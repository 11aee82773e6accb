package io.winnow.examples;

import ai.djl.Device;
import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.CalibrationStatistics;
import io.winnow.pruning.ExpertBudget;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningMethod;
import io.winnow.pruning.PruningReport;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.Stream;
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
      names = "--group-sequences",
      paramLabel = "G",
      defaultValue = "0",
      description =
          "sum the loss over groups of G sequences, as NAEE's code does with 8 (default: one group"
              + " of all)")
  private int groupSequences;

  @Option(names = "--out", required = true, paramLabel = "DIR", description = "folder to write")
  private Path out;

  @Option(names = "--report", paramLabel = "FILE.json", description = "report to write")
  private @Nullable Path report;

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
            .optMethod(methodOf("--method", method))
            .optProgressive(progressive)
            .optSequencesPerGroup(groupSequences)
            .optSeed(calibrationOptions.seed())
            .optMemory(streamOptions.memoryBytes())
            .optProgress(new ConsoleProgress());
    Outputs.requireFile("--report", report, out);
    Outputs.requireFile("--plan", plan, out);
    Outputs.requireDifferent("--report", report, "--plan", plan);
    ModelLimits limits = model.check();
    if (stats != null && (calibrationOptions.isGiven() || progressive || groupSequences != 0)) {
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
    Device[] devices = streamOptions.devices(model);
    if (!streaming) {
      Outputs.requireNewCheckpoint("--out", out, model.folder());
    }
    int threads = Math.max(Runtime.getRuntime().availableProcessors(), devices.length + 1);
    ExecutorService executor = Executors.newFixedThreadPool(threads);
    try {
      if (stats != null) {
        fromStatistics(stats, budget, executor);
        return 0;
      }
      Calibration calibration = calibrationOptions.read(model, limits);
      System.err.println("Calibrating on " + calibration.description());
      ExpertPruner pruner = builder.optDevices(devices).optExecutor(executor).build();
      if (!streaming) {
        try (Model loaded = model.load()) {
          PruningReport result = pruner.pruneInPlace(loaded, calibration, budget);
          MoeModels.save(loaded, out, new ConsoleProgress());
          finish(result);
        }
        return 0;
      }
      int retain = Objects.requireNonNull(budgetOptions.retain());
      if (streamOptions.isDryRun()) {
        System.out.print(
            StreamOptions.table(
                pruner.estimateCheckpoint(model.folder(), calibration, retain, out)));
      } else {
        finish(pruner.pruneCheckpoint(model.folder(), calibration, retain, out));
      }
    } finally {
      executor.shutdownNow();
    }
    return 0;
  }

  private void fromStatistics(Path file, ExpertBudget budget, ExecutorService executor)
      throws IOException {
    try (Model loaded = model.load()) {
      PruningReport result =
          CalibrationStatistics.read(file, loaded)
              .choose(methodOf("--method", method), budget, calibrationOptions.seed(), executor);
      result.plan().applyTo(loaded);
      MoeModels.save(loaded, out, new ConsoleProgress());
      finish(result);
    }
  }

  private void finish(PruningReport result) throws IOException {
    if (report != null) {
      result.write(report);
    }
    if (plan != null) {
      result.plan().write(plan);
    }
    System.out.print(ReportTable.of(result));
    System.out.println("Written to " + out);
  }

  /**
   * Returns the method of a name that an option gives.
   *
   * @param others what else the option takes
   */
  static PruningMethod methodOf(String option, String name, String... others) {
    return PruningMethod.all().stream()
        .filter(method -> method.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new InvalidInputException(
                    option
                        + " is '"
                        + name
                        + "'; choose one of "
                        + Stream.concat(
                                PruningMethod.all().stream().map(PruningMethod::name),
                                Stream.of(others))
                            .collect(Collectors.joining(", "))));
  }
}
