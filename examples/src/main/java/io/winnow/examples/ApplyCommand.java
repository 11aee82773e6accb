package io.winnow.examples;

import io.winnow.core.model.MoeModels;
import io.winnow.pruning.PruningPlan;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code winnow apply}. */
@Command(
    name = "apply",
    mixinStandardHelpOptions = true,
    description = "Removes the experts that a stored plan names, without calibration.",
    footer = {"", "Example:", "  winnow apply --model Mixtral-8x7B --plan plan.json --out pruned"})
final class ApplyCommand implements Callable<Integer> {
  @Option(
      names = "--model",
      required = true,
      paramLabel = "DIR",
      description = "a Hugging Face checkpoint folder")
  private Path model;

  @Option(
      names = "--plan",
      required = true,
      paramLabel = "FILE",
      description = "a plan that 'winnow prune --plan' wrote")
  private Path plan;

  @Option(names = "--out", required = true, paramLabel = "DIR", description = "folder to write")
  private Path out;

  @Override
  public Integer call() throws Exception {
    ModelLimits.of(model);
    Outputs.requireNewCheckpoint("--out", out, model);
    PruningPlan read = PruningPlan.read(plan);
    MoeModels.writePruned(model, read.retained(), read.provenance(), out, new ConsoleProgress());
    System.out.println("Written to " + out);
    return 0;
  }
}
