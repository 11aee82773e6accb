package io.winnow.examples.cli.prune;

import io.winnow.core.InvalidInputException;
import io.winnow.core.model.CheckpointSummary;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.files.ModelLimits;
import io.winnow.pruning.ExpertBudget;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How many experts to keep. */
final class BudgetOptions {
  @Option(names = "--retain", paramLabel = "R", description = "experts to keep in every layer")
  private @Nullable Integer retain;

  @Option(
      names = "--total",
      paramLabel = "N",
      description =
          "experts to keep in all layers together, divided by what each layer loses; only winnow"
              + " reads the result")
  private @Nullable Integer total;

  @Option(
      names = "--size",
      paramLabel = "MB",
      description = "the same, as many as fit into so many megabytes (of 1,000,000 bytes)")
  private @Nullable Double size;

  /** Returns the number that every layer keeps; null where a total is divided. */
  @Nullable Integer retain() {
    return retain;
  }

  /** Reads the options, and checks what can be checked without loading the model. */
  ExpertBudget read(Path model, ModelLimits limits) {
    int given = (retain == null ? 0 : 1) + (total == null ? 0 : 1) + (size == null ? 0 : 1);
    if (given != 1) {
      throw new InvalidInputException(
          given == 0
              ? "Missing required option: '--retain=R' (or --total, or --size)"
              : "Give one of --retain, --total and --size");
    }
    if (retain != null) {
      limits.checkRetain(retain);
      return ExpertBudget.perLayer(retain);
    }
    return ExpertBudget.total(total == null ? within(model) : total);
  }

  private int within(Path model) {
    CheckpointSummary summary = MoeModels.inspect(model);
    double bytes = 1e6 * (size == null ? 0 : size);
    long experts = summary.expertsWithin((long) bytes);
    if (experts <= 0) {
      throw new InvalidInputException(
          String.format(
              "--size is %s MB, but the model without any expert has more; use a greater size"
                  + " ('winnow inspect' shows what there is)",
              size));
    }
    return (int) experts;
  }
}
