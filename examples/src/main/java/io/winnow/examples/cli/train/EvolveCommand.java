package io.winnow.examples.cli.train;

import ai.djl.Model;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.hazelcast.core.HazelcastInstance;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.core.model.MoeModels;
import io.winnow.core.train.MergeTraining;
import io.winnow.examples.cluster.ClusterFitness;
import io.winnow.examples.cluster.MemberAddress;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.Numbers;
import io.winnow.examples.options.OutFolderOptions;
import io.winnow.examples.options.PredictionOptions;
import io.winnow.examples.options.ReportFileOptions;
import io.winnow.examples.options.SeedOptions;
import io.winnow.examples.task.EvolutionTask;
import io.winnow.examples.task.TaskFileOptions;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningPlan;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.evolve.EvolutionReport;
import io.winnow.pruning.evolve.EvolutionarySearch;
import io.winnow.pruning.evolve.Fitness;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.MergedModel;
import io.winnow.pruning.evolve.SearchLimit;
import io.winnow.pruning.evolve.SearchSpace;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.ToDoubleFunction;
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
      "      --journal search --out Mixtral-8x7B-code",
      "The same for questions, and with 1 expert per token:",
      "  winnow evolve --model Mixtral-8x7B --task arc.jsonl --retain 4 --active 1 \\",
      "      --out Mixtral-8x7B-arc"
    })
final class EvolveCommand implements Callable<Integer> {
  /** How the others merge into the experts that stay. */
  enum Merge {
    evolution,
    gradient,
    none
  }

  /** Training by gradients chooses its step by one window of so many. */
  private static final int VALIDATION_SHARE = 8;

  /** So that no worker waits for the next individual. */
  private static final int SENT_AHEAD = 2;

  @Mixin private ModelOptions model;

  @Mixin private TaskFileOptions task;

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
      description =
          "evolution, gradient (text only: trains on 7 of 8 windows, chooses by the others) or none"
              + " (default: ${DEFAULT-VALUE})")
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
          "a plan of 'winnow prune --plan' to start with; may be given several times (default:"
              + " NAEE's choice on the task)")
  private List<Path> start = new ArrayList<>();

  @Mixin private SeedOptions seed;

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

  @Option(
      names = "--cluster",
      split = ",",
      paramLabel = "HOST:PORT",
      description =
          "processes of 'winnow worker' that try the models in place of this one, separated by"
              + " commas; they must have the same --model, --dtype and --task")
  private List<String> cluster = new ArrayList<>();

  @Mixin private OutFolderOptions out;

  @Mixin private PredictionOptions predictions;
  @Mixin private ReportFileOptions report;

  @Override
  public Integer call() throws Exception {
    Numbers.requirePositive("--workers", workers);
    Numbers.requirePositive("--evaluations", evaluations);
    Numbers.requirePositive("--merge-evaluations", mergeEvaluations);
    task.check();
    cluster.forEach(member -> MemberAddress.parse("--cluster", member));
    if (!cluster.isEmpty() && workers > 1) {
      throw new InvalidInputException(
          "--workers are models of this process, and --cluster tries them in others; leave one out");
    }
    report.check(out.folder());
    ModelLimits limits = model.check();
    out.checkNew(model.folder());
    Outputs.requireOutside("--journal", journal, model.folder());
    limits.checkRetain(retain, active);
    List<PruningPlan> plans = start.stream().map(PruningPlan::read).toList();
    List<Model> models = new ArrayList<>();
    ExecutorService executor = Executors.newFixedThreadPool(workers);
    try (EvolutionTask measured = task.read(model.folder(), limits, merge == Merge.gradient)) {
      for (int i = 0; i < workers; i++) {
        models.add(model.load());
      }
      SearchSpace space = space(MoeModel.of(models.get(0)));
      plans.forEach(space::individual);
      ToDoubleFunction<MoeModel> fitness = measured.measure(models);
      double full = fitness.applyAsDouble(MoeModel.of(models.get(0)));
      EvolutionReport found = search(models, executor, space, measured, fitness, plans);
      Result result =
          merge == Merge.gradient
              ? trained(models.get(0), found, measured)
              : new Result(space, found.best().individual(), null);
      write(models.get(0), full, measured, fitness, found, result);
    } finally {
      executor.shutdownNow();
      models.forEach(Model::close);
    }
    return 0;
  }

  /** What is written: an individual of a space, and how it was trained if it was. */
  private record Result(
      SearchSpace space, Individual individual, MergeTraining.@Nullable Result training) {}

  private SearchSpace space(MoeModel block) {
    SearchSpace space =
        active == null ? SearchSpace.of(block, retain) : SearchSpace.of(block, retain, active);
    return groups == null ? space : space.withGroups(groups);
  }

  private EvolutionReport search(
      List<Model> models,
      ExecutorService executor,
      SearchSpace space,
      EvolutionTask measured,
      ToDoubleFunction<MoeModel> measure,
      List<PruningPlan> plans) {
    MoeModel first = MoeModel.of(models.get(0));
    List<Individual> from =
        plans.isEmpty()
            ? start(models.get(0), space, measured)
            : plans.stream().map(space::individual).distinct().toList();
    List<MergedModel> merged = new ArrayList<>();
    models.forEach(one -> merged.add(MergedModel.of(MoeModel.of(one), space)));
    String digest = EvolutionTask.digest(first, measured);
    HazelcastInstance client = cluster.isEmpty() ? null : ClusterFitness.client(cluster);
    try {
      Fitness fitness =
          client == null
              ? Fitness.ofModels(digest, executor, merged, measure)
              : ClusterFitness.of(
                  client, digest, client.getCluster().getMembers().size() + SENT_AHEAD);
      EvolveProgress progress =
          new EvolveProgress(evaluations, merge == Merge.evolution ? mergeEvaluations : 0);
      EvolutionReport found =
          EvolutionarySearch.builder(space, fitness)
              .optStart(from)
              .optPruning(SearchLimit.evaluations(evaluations))
              .optMerging(
                  merge == Merge.evolution ? SearchLimit.evaluations(mergeEvaluations) : null)
              .optSeed(seed.seed())
              .optJournal(journal)
              .optSource(first.sourceDigest().orElse(null))
              .optListener(progress)
              .build()
              .run();
      progress.end();
      return found;
    } finally {
      merged.forEach(MergedModel::close);
      if (client != null) {
        client.shutdown();
      }
    }
  }

  private List<Individual> start(Model loaded, SearchSpace space, EvolutionTask measured) {
    if (retain < MoeModel.of(loaded).moeLayers().get(0).routing().topK()) {
      return List.of(); // NAEE retains at least as many as a token selects.
    }
    PruningReport naee =
        ExpertPruner.builder()
            .optProgress(new ConsoleProgress())
            .build()
            .search(loaded, measured.calibration(), retain);
    return space.individual(naee).stream().toList();
  }

  /** Trains the merge of the best pruned individual, in float32, each layer for itself. */
  private Result trained(Model loaded, EvolutionReport found, EvolutionTask measured) {
    TokenSequences text = measured.trainingText();
    int training = text.count() - Math.max(1, text.count() / VALIDATION_SHARE);
    MergeTraining.Result result;
    try (Model twin = model.isFloat32() ? null : model.loadFloat32()) {
      result =
          MergeTraining.builder()
              .optTopK(found.space().topK())
              .optSeed(seed.seed())
              .optProgress(new ConsoleProgress())
              .build()
              .run(
                  twin == null ? loaded : twin,
                  found.space().merges(found.best().individual()),
                  text.slice(0, training),
                  text.slice(training, text.count()));
    }
    SearchSpace space = found.space().withGroups(found.space().layers().size());
    return new Result(
        space,
        new Individual(List.copyOf(new TreeMap<>(result.merges()).values()), space.topK()),
        result);
  }

  private void write(
      Model loaded,
      double full,
      EvolutionTask measured,
      ToDoubleFunction<MoeModel> fitness,
      EvolutionReport found,
      Result result)
      throws Exception {
    MoeModel block = MoeModel.of(loaded);
    MergedModel.of(block, result.space()).apply(result.individual()); // And leaves it so.
    block.recordProvenance(
        new Provenance(
            merge == Merge.gradient ? "eep-gradient" : found.provenance().method(),
            measured.textDigest(),
            seed.seed(),
            found.provenance().source()));
    double from =
        found.start().isEmpty() || !Double.isFinite(found.start().get(0).fitness())
            ? full
            : found.start().get(0).fitness();
    StringBuilder table = new StringBuilder();
    table.append(String.format("%-12s  %s%n", "", measured.columns()));
    line(table, "full model", measured.describe(full, from));
    found.start().forEach(one -> line(table, "start", measured.describe(one.fitness(), from)));
    if (found.pruned() != null) {
      line(table, "pruned", measured.describe(found.pruned().fitness(), from));
    }
    if (merge != Merge.none) {
      line(table, "merged", measured.describe(fitness.applyAsDouble(block), from));
    }
    MoeModels.save(loaded, out.folder(), predictions.treatment(), new ConsoleProgress());
    if (report.file() != null) {
      JsonFiles.write(report.file(), json(found, result));
    }
    System.out.print(table);
    System.out.printf(
        Locale.ROOT,
        "%d + %d evaluations, %.1f s%n",
        found.pruningEvaluations(),
        found.mergingEvaluations(),
        found.time().toMillis() / 1000.0);
    if (result.training() != null) {
      System.out.printf(
          "Step %d of the training was the best on its validation text%n",
          result.training().step());
    }
    PredictionOptions.print(out.folder());
    out.printWritten();
  }

  private static JsonObject json(EvolutionReport found, Result result) {
    JsonObject json = JsonParser.parseString(found.toJson()).getAsJsonObject();
    if (result.training() != null) {
      JsonObject training = new JsonObject();
      training.addProperty("step", result.training().step());
      training.addProperty("validation_loss", result.training().validationLoss());
      JsonArray history = new JsonArray();
      for (MergeTraining.Measurement measurement : result.training().history()) {
        JsonObject one = new JsonObject();
        one.addProperty("step", measurement.step());
        one.addProperty(
            "training_loss",
            Double.isNaN(measurement.trainingLoss()) ? null : measurement.trainingLoss());
        one.addProperty("validation_loss", measurement.validationLoss());
        history.add(one);
      }
      training.add("history", history);
      training.add("individual", JsonParser.parseString(result.individual().toJson()));
      json.add("training", training);
    }
    return json;
  }

  private static void line(StringBuilder table, String what, String fitness) {
    table.append(String.format("%-12s  %s%n", what, fitness));
  }
}
