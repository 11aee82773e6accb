package io.winnow.examples;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.decoder.MoeModels;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningPlan;
import io.winnow.pruning.evolve.EvolutionReport;
import io.winnow.pruning.evolve.EvolutionarySearch;
import io.winnow.pruning.evolve.Fitness;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.MergedModel;
import io.winnow.pruning.evolve.SearchLimit;
import io.winnow.pruning.evolve.SearchSpace;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow evolve}. */
@Command(
    name = "evolve",
    mixinStandardHelpOptions = true,
    description =
        "Searches for the experts that serve a task best, and for how the others merge into them"
            + " (EEP).",
    footer = {
      "",
      "Example: 8 -> 4 experts a layer, for code:",
      "  winnow evolve --model Mixtral-8x7B --task code.txt --retain 4 \\",
      "      --journal search --out Mixtral-8x7B-code"
    })
final class EvolveCommand implements Callable<Integer> {
  /** How the others merge into the experts that stay. */
  enum Merge {
    evolution,
    gradient,
    none
  }

  @Mixin private ModelOptions model;

  @Option(
      names = "--task",
      required = true,
      paramLabel = "FILE",
      description =
          "text whose log-likelihood counts: .txt, .jsonl (field 'text'), or .safetensors with"
              + " token ids ('input_ids')")
  private Path task;

  @Option(
      names = "--length",
      paramLabel = "L",
      description = "tokens per window (default: 2048, or the model's positions if fewer)")
  private @Nullable Integer length;

  @Option(
      names = "--windows",
      paramLabel = "N",
      description = "use the first N windows (default: all)")
  private @Nullable Integer windows;

  @Option(
      names = "--retain",
      required = true,
      paramLabel = "R",
      description = "experts to keep in every layer")
  private int retain;

  @Option(
      names = "--active",
      paramLabel = "K",
      description = "experts that a token selects (default: as the model)")
  private @Nullable Integer active;

  @Option(
      names = "--groups",
      paramLabel = "G",
      description = "groups of layers that share a choice (default: one per layer)")
  private @Nullable Integer groups;

  @Option(
      names = "--merge",
      paramLabel = "HOW",
      defaultValue = "evolution",
      description = "evolution, gradient or none (default: ${DEFAULT-VALUE})")
  private Merge merge;

  @Option(
      names = "--evaluations",
      paramLabel = "N",
      defaultValue = "100",
      description = "models to try while pruning (default: ${DEFAULT-VALUE})")
  private int evaluations;

  @Option(
      names = "--merge-evaluations",
      paramLabel = "N",
      defaultValue = "300",
      description = "models to try while merging (default: ${DEFAULT-VALUE})")
  private int mergeEvaluations;

  @Option(
      names = "--start",
      paramLabel = "FILE.json",
      description =
          "a plan of 'winnow prune --plan' to start with (default: NAEE's choice on the task)")
  private @Nullable Path start;

  @Option(
      names = "--seed",
      paramLabel = "S",
      defaultValue = "0",
      description = "seed of everything random (default: ${DEFAULT-VALUE})")
  private long seed;

  @Option(
      names = "--journal",
      paramLabel = "DIR",
      description =
          "remember every evaluation here: a search that was stopped continues, and several"
              + " processes share the work")
  private @Nullable Path journal;

  @Option(
      names = "--workers",
      paramLabel = "N",
      defaultValue = "1",
      description = "models to try at a time, each in memory (default: ${DEFAULT-VALUE})")
  private int workers;

  @Option(names = "--out", required = true, paramLabel = "DIR", description = "folder to write")
  private Path out;

  @Option(names = "--report", paramLabel = "FILE.json", description = "report to write")
  private @Nullable Path report;

  @Override
  public Integer call() throws Exception {
    requireAtLeast("--workers", workers, 1);
    requireAtLeast("--evaluations", evaluations, 1);
    requireAtLeast("--merge-evaluations", mergeEvaluations, 1);
    if (windows != null) {
      requireAtLeast("--windows", windows, 1);
    }
    Outputs.requireFile("--report", report, out);
    ModelLimits limits = model.check();
    Outputs.requireNewCheckpoint("--out", out, model.folder());
    if (active == null) {
      limits.checkRetain(retain);
    }
    PruningPlan given = start == null ? null : PruningPlan.read(start);
    if (merge == Merge.gradient) {
      EvolutionTask.requireGradients();
    }
    EvolutionTask measured =
        EvolutionTask.read(model.folder(), task, length, limits.maxPositions(), windows);
    List<Model> models = new ArrayList<>();
    ExecutorService executor = Executors.newFixedThreadPool(workers);
    try {
      for (int i = 0; i < workers; i++) {
        models.add(model.load());
      }
      double full = measured.measure(models.get(0));
      EvolutionReport found = search(models, executor, measured, given);
      write(models.get(0), full, measured, found);
    } finally {
      executor.shutdownNow();
      models.forEach(Model::close);
    }
    return 0;
  }

  private static void requireAtLeast(String option, int value, int least) {
    if (value < least) {
      throw new InvalidInputException(option + " is " + value + "; use at least " + least);
    }
  }

  private EvolutionReport search(
      List<Model> models,
      ExecutorService executor,
      EvolutionTask measured,
      @Nullable PruningPlan given) {
    MoeModel first = MoeModel.of(models.get(0));
    SearchSpace space =
        active == null ? SearchSpace.of(first, retain) : SearchSpace.of(first, retain, active);
    if (groups != null) {
      space = space.withGroups(groups);
    }
    String source = first.sourceDigest().orElse("unknown");
    List<Individual> from = start(models.get(0), space, measured, given);
    Map<MoeModel, Model> byBlock = new IdentityHashMap<>();
    List<MergedModel> merged = new ArrayList<>();
    for (Model one : models) {
      byBlock.put(MoeModel.of(one), one);
      merged.add(MergedModel.of(MoeModel.of(one), space));
    }
    try {
      Fitness fitness =
          Fitness.ofModels(
              source + " " + measured.digest(),
              executor,
              merged,
              block -> measured.measure(Objects.requireNonNull(byBlock.get(block))));
      EvolveProgress progress =
          new EvolveProgress(evaluations, merge == Merge.evolution ? mergeEvaluations : 0);
      EvolutionReport found =
          EvolutionarySearch.builder(space, fitness)
              .optStart(from)
              .optPruning(SearchLimit.evaluations(evaluations))
              .optMerging(
                  merge == Merge.evolution ? SearchLimit.evaluations(mergeEvaluations) : null)
              .optSeed(seed)
              .optJournal(journal)
              .optSource(first.sourceDigest().orElse(null))
              .optListener(progress)
              .build()
              .run();
      progress.end();
      return found;
    } finally {
      merged.forEach(MergedModel::close);
    }
  }

  private List<Individual> start(
      Model loaded, SearchSpace space, EvolutionTask measured, @Nullable PruningPlan given) {
    if (given != null) {
      return List.of(space.individual(given));
    }
    if (space.groups() < space.layers().size()
        || retain < MoeModel.of(loaded).moeLayers().get(0).routing().topK()) {
      return List.of(); // NAEE chooses for each layer alone, and not fewer than a token selects.
    }
    return List.of(
        space.individual(
            ExpertPruner.builder()
                .optProgress(new ConsoleProgress())
                .build()
                .search(loaded, measured.calibration(), retain)
                .plan()));
  }

  private void write(Model loaded, double full, EvolutionTask measured, EvolutionReport found)
      throws Exception {
    Individual best = found.best().individual();
    if (merge == Merge.gradient) {
      best = measured.trainMerge(loaded, found.space(), best, seed);
    }
    MoeModel block = MoeModel.of(loaded);
    MergedModel.of(block, found.space()).apply(best); // And leaves it so: this is what is written.
    block.recordProvenance(found.provenance());
    StringBuilder table = new StringBuilder();
    line(table, "full model", full);
    found.start().forEach(one -> line(table, "start", one.fitness()));
    if (found.pruned() != null) {
      line(table, "pruned", found.pruned().fitness());
    }
    if (merge != Merge.none) {
      line(table, "merged", measured.measure(loaded));
    }
    MoeModels.save(loaded, out, new ConsoleProgress());
    if (report != null) {
      found.write(report);
    }
    System.out.print(table);
    System.out.printf(
        Locale.ROOT,
        "%d + %d evaluations, %.1f s%n",
        found.pruningEvaluations(),
        found.mergingEvaluations(),
        found.time().toMillis() / 1000.0);
    System.out.println("Written to " + out);
  }

  private static void line(StringBuilder table, String what, double fitness) {
    table.append(String.format(Locale.ROOT, "%-10s  %s%n", what, EvolutionTask.describe(fitness)));
  }
}
