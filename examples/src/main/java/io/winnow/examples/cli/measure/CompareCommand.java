package io.winnow.examples.cli.measure;

import com.google.common.collect.ListMultimap;
import com.google.common.collect.Maps;
import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.examples.comparison.ComparisonJournal;
import io.winnow.examples.comparison.ComparisonRun;
import io.winnow.examples.comparison.ComparisonTable;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.NamedFiles;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.files.TokenFiles;
import io.winnow.examples.options.CalibrationOptions;
import io.winnow.examples.options.GroupOptions;
import io.winnow.examples.options.MethodNames;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.Numbers;
import io.winnow.examples.options.SampleOptions;
import io.winnow.examples.options.TextFormatOptions;
import io.winnow.examples.options.WindowOptions;
import io.winnow.examples.task.TaskOptions;
import io.winnow.examples.task.TaskPlan;
import io.winnow.pruning.PruningMethod;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow compare}. */
@Command(
    name = "compare",
    mixinStandardHelpOptions = true,
    description =
        "Prunes a model by many methods, to several numbers of experts, on several calibrations, and"
            + " measures each result: a table, and comparison.json in the folder --out. Killed, the"
            + " same command goes on behind the last finished row.",
    footer = {
      "",
      "Example:",
      "  winnow compare --model Mixtral-8x7B --calib c4=c4.txt --calib math=math.txt \\",
      "      --retain 6,4 --text c4=c4-valid.txt --tasks gsm8k.jsonl --skip --out compared",
      " ",
      "NAME= may be left out; then the file's name counts, up to its first dot. Calibrations of",
      "one name are mixed, and may have weights: --calib both=c4.txt:0.7 --calib both=math.txt:0.3",
      "The time of choosing is without the calibration pass, which serves all methods but",
      ComparisonRun.PROGRESSIVE + "."
    })
final class CompareCommand implements Callable<Integer> {
  private static final int VERSION = 1;
  private static final String ALL = "all";

  @Mixin private ModelOptions model;

  @Option(
      names = "--calib",
      required = true,
      paramLabel = "[NAME=]FILE",
      description = "calibration text: " + TextFormatOptions.FILES + "; may be given several times")
  private List<String> calib = List.of();

  @Option(
      names = "--retain",
      required = true,
      split = ",",
      paramLabel = "R",
      description = "experts to keep in every layer, one or several numbers")
  private List<Integer> retain = List.of();

  @Option(
      names = "--methods",
      split = ",",
      paramLabel = "M",
      defaultValue = ALL,
      description =
          "methods of 'winnow prune', and "
              + ComparisonRun.PROGRESSIVE
              + "; 'all' stands for all others (default: ${DEFAULT-VALUE})")
  private List<String> methods = List.of();

  @Option(
      names = "--text",
      paramLabel = "[NAME=]FILE",
      description = "text to measure the perplexity of; may be given several times")
  private List<String> text = List.of();

  @Option(
      names = "--tasks",
      paramLabel = "[NAME=]FILE",
      description = ".jsonl of questions, as for 'winnow evaluate'; may be given several times")
  private List<String> tasks = List.of();

  @Mixin private TaskOptions taskOptions;

  @Option(
      names = "--questions",
      paramLabel = "N",
      description = "use the first N questions of a task (default: all)")
  private @Nullable Integer questions;

  @Option(
      names = "--skip",
      description =
          "measure each model once more while it skips experts, by the median of their weights on"
              + " the calibration")
  private boolean skip;

  @Mixin private SampleOptions sample;
  @Mixin private WindowOptions windows;

  @Option(
      names = "--seeds",
      paramLabel = "N",
      defaultValue = "3",
      description =
          "how often to choose at random, by --seed and those that follow it (default:"
              + " ${DEFAULT-VALUE})")
  private int seeds;

  @Mixin private GroupOptions groups;

  @Option(
      names = "--out",
      required = true,
      paramLabel = "DIR",
      description = "folder to write, or one in which the same command was stopped")
  private Path out;

  @Override
  public Integer call() throws Exception {
    windows.check();
    Numbers.requirePositive("--questions", questions);
    Numbers.requirePositive("--seeds", seeds);
    if (text.isEmpty() && tasks.isEmpty()) {
      throw new InvalidInputException("There is nothing to measure; give --text or --tasks");
    }
    if (tasks.isEmpty()) {
      taskOptions.requireNone("--tasks is not given");
    }
    List<String> chosen = methods();
    ModelLimits limits = model.check();
    Outputs.requireOutside("--out", out, model.folder());
    retain.forEach(limits::checkRetain);
    ComparisonRun.Subject subject =
        new ComparisonRun.Subject(
            calibrations(limits),
            groups.sequences(),
            List.copyOf(new LinkedHashSet<>(retain)),
            chosen,
            sample.seed(),
            seeds,
            skip,
            texts(limits),
            plans());
    ExecutorService executor =
        Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors());
    try (ComparisonJournal journal = ComparisonJournal.open(out, settings(subject));
        TextTokenizer tokenizer = tasks.isEmpty() ? null : TextTokenizer.open(model.folder())) {
      ComparisonRun comparison = new ComparisonRun(model, subject, out, executor, tokenizer);
      List<JsonObject> rows = comparison.rows(journal);
      Path file = out.resolve("comparison.json");
      JsonFiles.write(file, json(comparison.columns(), rows));
      System.out.print(ComparisonTable.of(comparison.columns(), rows));
      System.out.println("Written to " + file);
    } finally {
      executor.shutdownNow();
    }
    return 0;
  }

  private List<String> methods() {
    Set<String> names = new LinkedHashSet<>();
    for (String name : methods) {
      if (name.equals(ALL)) {
        PruningMethod.all().forEach(method -> names.add(method.name()));
      } else {
        if (!name.equals(ComparisonRun.PROGRESSIVE)) {
          MethodNames.methodOf("--methods", name, ComparisonRun.PROGRESSIVE, ALL);
        }
        names.add(name);
      }
    }
    return List.copyOf(names);
  }

  private Map<String, Calibration> calibrations(ModelLimits limits) {
    ListMultimap<String, String> files = NamedFiles.grouped("--calib", calib);
    Map<String, Calibration> calibrations = new LinkedHashMap<>();
    for (String name : files.keySet()) {
      calibrations.put(name, CalibrationOptions.read(files.get(name), sample, model, limits));
    }
    return calibrations;
  }

  private Map<String, TokenSequences> texts(ModelLimits limits) {
    Map<String, TokenSequences> texts = new LinkedHashMap<>();
    NamedFiles.single("--text", text)
        .forEach(
            (name, file) ->
                texts.put(
                    name,
                    TokenFiles.windows(
                        model.folder(),
                        file,
                        sample.format(),
                        sample.length(),
                        limits.maxPositions(),
                        windows.most())));
    return texts;
  }

  private Map<String, TaskPlan> plans() {
    Map<String, TaskPlan> plans = new LinkedHashMap<>();
    NamedFiles.single("--tasks", tasks)
        .forEach(
            (name, file) ->
                plans.put(
                    name,
                    taskOptions.read(file, questions == null ? Integer.MAX_VALUE : questions)));
    return plans;
  }

  /** Returns what makes a comparison another one. */
  private JsonObject settings(ComparisonRun.Subject subject) {
    Gson gson = new Gson();
    JsonObject settings = new JsonObject();
    settings.addProperty("version", VERSION);
    settings.addProperty("model", Checkpoint.open(model.folder()).digest());
    settings.addProperty("dtype", model.typeName());
    settings.addProperty("device", model.device().toString());
    settings.add(
        "calib",
        gson.toJsonTree(Maps.transformValues(subject.calibrations(), Calibration::digest)));
    settings.addProperty("group_sequences", groups.sequences());
    settings.add("retain", gson.toJsonTree(subject.retained()));
    settings.add("methods", gson.toJsonTree(subject.methods()));
    settings.addProperty("seed", sample.seed());
    settings.addProperty("seeds", seeds);
    settings.addProperty("skip", skip);
    settings.add(
        "text", gson.toJsonTree(Maps.transformValues(subject.texts(), TokenSequences::digest)));
    settings.add("tasks", gson.toJsonTree(Maps.transformValues(subject.tasks(), TaskPlan::digest)));
    return settings;
  }

  private static JsonObject json(List<String> columns, List<JsonObject> rows) {
    JsonObject json = new JsonObject();
    json.addProperty("version", VERSION);
    JsonArray columnArray = new JsonArray();
    columns.forEach(columnArray::add);
    json.add("columns", columnArray);
    JsonArray rowArray = new JsonArray();
    rows.forEach(rowArray::add);
    json.add("rows", rowArray);
    return json;
  }
}
