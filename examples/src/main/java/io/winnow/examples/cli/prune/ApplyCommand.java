package io.winnow.examples.cli.prune;

import io.winnow.core.model.MoeModels;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.options.ModelFolderOptions;
import io.winnow.examples.options.OutFolderOptions;
import io.winnow.pruning.PruningPlan;
import io.winnow.pruning.shrink.NarrowingPlan;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow apply}. */
@Command(
    name = "apply",
    mixinStandardHelpOptions = true,
    description =
        "Removes the experts and channels that a stored plan does not name, without calibration.",
    footer = {"", "Example:", "  winnow apply --model Mixtral-8x7B --plan plan.json --out pruned"})
final class ApplyCommand implements Callable<Integer> {
  @Mixin private ModelFolderOptions model;

  @Option(
      names = "--plan",
      required = true,
      paramLabel = "FILE",
      description = "a plan that --plan of 'winnow prune', 'narrow' or 'shrink' wrote")
  private Path plan;

  @Mixin private OutFolderOptions out;

  @Override
  public Integer call() throws Exception {
    ModelLimits.of(model.folder());
    out.checkNew(model.folder());
    if (NarrowingPlan.isOne(plan)) {
      NarrowingPlan narrowing = NarrowingPlan.read(plan);
      narrowing.apply(model.folder(), out.folder(), new ConsoleProgress());
      if (narrowing.isRepaired()) {
        System.out.println(
            "The plan's model was repaired, which a plan cannot say; this one is cut only");
      }
      out.printWritten();
      return 0;
    }
    PruningPlan read = PruningPlan.read(plan);
    MoeModels.writePruned(
        model.folder(), read.retained(), read.provenance(), out.folder(), new ConsoleProgress());
    out.printWritten();
    return 0;
  }
}
