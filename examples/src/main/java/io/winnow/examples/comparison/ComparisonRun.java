package io.winnow.examples.comparison;

import ai.djl.Model;
import com.google.common.base.Stopwatch;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.model.CheckpointSummary;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.options.MethodNames;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.task.TaskPlan;
import io.winnow.pruning.CalibrationStatistics;
import io.winnow.pruning.ExpertBudget;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningMethod;
import io.winnow.pruning.PruningReport;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Prunes a model in many ways, and measures each: a row. One model is in memory at a time. Used
 * once.
 */
public final class ComparisonRun {
  /** The name of the row of the whole model. */
  public static final String UNPRUNED = "unpruned";

  /** The name of reconstruction that judges each layer behind the layers pruned before it. */
  public static final String PROGRESSIVE = "reconstruction-progressive";

  /** Before the columns of what is measured while experts are skipped. */
  private static final String SKIPPING = "skipping_";

  /**
   * What is compared.
   *
   * @param calibrations by name, at least one
   * @param groupSequences sequences whose loss has a norm of its own; 0 for one norm of all
   * @param retained numbers of experts to keep in every layer
   * @param methods names of methods, {@link #PROGRESSIVE} among them
   * @param seed the first seed, and that of every method but random
   * @param seeds how many for random
   * @param skip whether each model is measured once more while it skips experts
   * @param texts by name
   * @param tasks by name
   */
  public record Subject(
      Map<String, Calibration> calibrations,
      int groupSequences,
      List<Integer> retained,
      List<String> methods,
      long seed,
      int seeds,
      boolean skip,
      Map<String, TokenSequences> texts,
      Map<String, TaskPlan> tasks) {}

  /**
   * A row before it is measured.
   *
   * @param calibration its name, or null if the row does not depend on one
   * @param seed null where the method draws no lots
   */
  private record Choice(
      String method, @Nullable String calibration, int retained, @Nullable Long seed) {
    JsonObject json() {
      JsonObject json = new JsonObject();
      json.addProperty("method", method);
      json.addProperty("calibration", calibration);
      json.addProperty("retained", retained);
      json.addProperty("seed", seed);
      return json;
    }
  }

  private final ModelOptions options;
  private final Subject subject;
  private final Path out;
  private final ExecutorService executor;
  private final @Nullable TextTokenizer tokenizer;
  private final CheckpointSummary summary;
  private final ExpertPruner.Builder pruner;
  private @Nullable String current;
  private @Nullable CalibrationStatistics statistics;

  /**
   * Creates a comparison.
   *
   * @param out the folder in which statistics are kept, {@code NAME.winnow}
   * @param executor for the search of experts
   * @param tokenizer not null if there are tasks; the caller closes it
   */
  public ComparisonRun(
      ModelOptions options,
      Subject subject,
      Path out,
      ExecutorService executor,
      @Nullable TextTokenizer tokenizer) {
    this.options = options;
    this.subject = subject;
    this.out = out;
    this.executor = executor;
    this.tokenizer = tokenizer;
    summary = MoeModels.inspect(options.folder());
    pruner =
        ExpertPruner.builder()
            .optSequencesPerGroup(subject.groupSequences())
            .optSeed(subject.seed())
            .optExecutor(executor)
            .optProgress(new ConsoleProgress());
  }

  /** Returns the columns of the rows, in order. */
  public List<String> columns() {
    List<String> columns =
        new ArrayList<>(List.of("method", "calibration", "retained", "seed", "bytes"));
    addMeasured(columns, "");
    if (subject.skip()) {
      columns.add("skip_rate");
      addMeasured(columns, SKIPPING);
    }
    columns.add("choosing_seconds");
    return columns;
  }

  private void addMeasured(List<String> columns, String prefix) {
    subject.texts().keySet().forEach(name -> columns.add(prefix + "perplexity_" + name));
    if (!subject.texts().isEmpty()) {
      columns.add(prefix + "tokens_per_second");
    }
    subject.tasks().keySet().forEach(name -> columns.add(prefix + "accuracy_" + name));
  }

  /** Returns all rows: those of the journal, and others, which are added to it one by one. */
  public List<JsonObject> rows(ComparisonJournal journal) throws IOException {
    List<Choice> choices = choices();
    List<JsonObject> finished = journal.rows();
    if (finished.size() > choices.size()) {
      throw new InvalidInputException(
          "--out: " + out + " holds more rows than this comparison has; remove it");
    }
    List<JsonObject> rows = new ArrayList<>(finished);
    ConsoleProgress progress = new ConsoleProgress();
    progress.reset("Comparing", choices.size());
    progress.increment(rows.size());
    for (Choice choice : choices.subList(rows.size(), choices.size())) {
      JsonObject row = measure(choice);
      journal.append(row);
      rows.add(row);
      progress.increment(1);
    }
    progress.end();
    return rows;
  }

  /** Returns the rows to come. Where no calibration matters, there is one for all of them. */
  private List<Choice> choices() {
    List<Choice> choices = new ArrayList<>();
    for (String name : subject.calibrations().keySet()) {
      if (subject.skip() || choices.isEmpty()) {
        choices.add(new Choice(UNPRUNED, subject.skip() ? name : null, summary.experts(), null));
      }
    }
    String first = subject.calibrations().keySet().iterator().next();
    for (String name : subject.calibrations().keySet()) {
      for (int retained : subject.retained()) {
        for (String method : subject.methods()) {
          boolean calibrated =
              subject.skip() || isProgressive(method) || of(method).needsCalibration();
          if (calibrated || name.equals(first)) {
            addSeeds(choices, method, calibrated ? name : null, retained);
          }
        }
      }
    }
    return choices;
  }

  private void addSeeds(
      List<Choice> choices, String method, @Nullable String calibration, int retained) {
    if (!method.equals(PruningMethod.random().name())) {
      choices.add(new Choice(method, calibration, retained, null));
      return;
    }
    for (int i = 0; i < subject.seeds(); i++) {
      choices.add(new Choice(method, calibration, retained, subject.seed() + i));
    }
  }

  private static boolean isProgressive(String method) {
    return method.equals(PROGRESSIVE);
  }

  private static PruningMethod of(String name) {
    return MethodNames.methodOf("--methods", name, PROGRESSIVE);
  }

  private JsonObject measure(Choice choice) {
    MoeModels.Loader loader = options.loader();
    JsonObject row = choice.json();
    PruningReport report = choice.method().equals(UNPRUNED) ? null : choose(choice);
    if (report != null) {
      loader.optRetained(report.plan().retained());
    }
    row.addProperty("bytes", bytes(choice.retained()));
    try (Model model = loader.load()) {
      measure(row, "", model);
      if (subject.skip()) {
        SkipPolicy policy =
            SkipPolicy.calibrate(model, calibration(Objects.requireNonNull(choice.calibration())));
        SkipCounter counter = new SkipCounter();
        MoeModel.of(model).routerHooks().set(policy.asHook(counter));
        measure(row, SKIPPING, model);
        add(row, "skip_rate", counter.snapshot().rate());
      }
    }
    if (report != null) {
      add(row, "choosing_seconds", report.time().toMillis() / 1000.0);
      row.addProperty(
          "kept",
          report.layers().stream()
              .map(
                  layer ->
                      layer.retained().stream()
                          .map(String::valueOf)
                          .collect(Collectors.joining(",")))
              .collect(Collectors.joining(";")));
    }
    return row;
  }

  private long bytes(int retained) {
    return summary.footprints().stream()
        .filter(footprint -> footprint.retained() == retained)
        .findFirst()
        .orElseThrow()
        .bytes();
  }

  private PruningReport choose(Choice choice) {
    if (isProgressive(choice.method())) {
      try (Model whole = options.loader().load()) {
        return pruner
            .optProgressive(true)
            .build()
            .search(
                whole,
                calibration(Objects.requireNonNull(choice.calibration())),
                choice.retained());
      }
    }
    String name =
        choice.calibration() == null
            ? subject.calibrations().keySet().iterator().next()
            : choice.calibration();
    long seed = choice.seed() == null ? subject.seed() : choice.seed();
    return statistics(name)
        .choose(of(choice.method()), ExpertBudget.perLayer(choice.retained()), seed, executor);
  }

  private Calibration calibration(String name) {
    return Objects.requireNonNull(subject.calibrations().get(name));
  }

  /** Calibrates once for all methods, or reads what a run before this one has seen. */
  private CalibrationStatistics statistics(String name) {
    if (statistics != null && name.equals(current)) {
      return statistics;
    }
    statistics = null; // Two calibrations need not be in memory.
    Path file = out.resolve(name + ".winnow");
    CalibrationStatistics made;
    try (Model whole = options.loader().load()) {
      if (Files.exists(file)) {
        made = CalibrationStatistics.read(file, whole);
        if (!made.calibration().equals(calibration(name).digest())) {
          throw new InvalidInputException(file + " is of another calibration; remove it");
        }
      } else {
        made = pruner.optProgressive(false).build().calibrate(whole, calibration(name));
        made.write(file);
      }
    }
    current = name;
    statistics = made;
    return made;
  }

  /** Measures a model on every text and task. */
  private void measure(JsonObject row, String prefix, Model model) {
    Stopwatch watch = Stopwatch.createStarted();
    long tokens = 0;
    for (Map.Entry<String, TokenSequences> text : subject.texts().entrySet()) {
      add(
          row,
          prefix + "perplexity_" + text.getKey(),
          Perplexity.of(model, text.getValue()).perplexity());
      tokens += (long) text.getValue().count() * text.getValue().length();
    }
    if (tokens > 0) {
      add(row, prefix + "tokens_per_second", tokens / (watch.elapsed(TimeUnit.MICROSECONDS) / 1e6));
    }
    subject
        .tasks()
        .forEach(
            (name, plan) ->
                add(
                    row,
                    prefix + "accuracy_" + name,
                    plan.accuracy(model, Objects.requireNonNull(tokenizer))));
  }

  /** Adds a number, or null where JSON has none for it. */
  private static void add(JsonObject row, String column, double value) {
    row.add(column, Double.isFinite(value) ? new JsonPrimitive(value) : JsonNull.INSTANCE);
  }
}
