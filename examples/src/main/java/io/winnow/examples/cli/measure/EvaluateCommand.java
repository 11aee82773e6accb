package io.winnow.examples.cli.measure;

import static java.util.Objects.requireNonNull;

import ai.djl.Model;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.TokenFiles;
import io.winnow.examples.options.JsonOptions;
import io.winnow.examples.options.LengthOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.SkipOptions;
import io.winnow.examples.options.TextFormatOptions;
import io.winnow.examples.options.WindowOptions;
import io.winnow.examples.task.TaskOptions;
import io.winnow.examples.task.TaskPlan;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow evaluate}. */
@Command(
    name = "evaluate",
    mixinStandardHelpOptions = true,
    description =
        "Measures the perplexity of a text, in windows that do not overlap, or answers the questions"
            + " of a task.",
    footer = {
      "",
      "Example:",
      "  winnow evaluate --model Mixtral-8x7B-r6 --text valid.txt --length 2048",
      "  winnow evaluate --model Mixtral-8x7B-r6 --tasks arc.jsonl --json arc.json",
      "  winnow evaluate --model Mixtral-8x7B-r6 --tasks gsm8k.jsonl --stop Question:",
      "      --few-shot gsm8k-train.jsonl --shots 5 --extract '#### (-?[0-9.,]+)'",
      " ",
      "A line of a task is {\"context\": \"...\", \"choices\": [\"...\", \"...\"], \"answer\": 0},",
      "or {\"prompt\": \"...\", \"answer\": \"...\"} (a text, or a list of accepted ones)."
    })
final class EvaluateCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private SkipOptions skip;

  @Mixin private TaskOptions task;

  @ArgGroup(multiplicity = "1")
  private Source source = new Source();

  /** What is evaluated: one of the two. */
  static final class Source {
    @Option(
        names = "--text",
        required = true,
        paramLabel = "FILE",
        description = TextFormatOptions.FILES)
    private @Nullable Path text;

    @Option(
        names = "--tasks",
        required = true,
        paramLabel = "FILE.jsonl",
        description = "questions, multiple-choice or open, one a line")
    private @Nullable Path tasks;
  }

  @Mixin private TextFormatOptions format;
  @Mixin private LengthOptions length;
  @Mixin private WindowOptions windows;
  @Mixin private JsonOptions json;

  @Override
  public Integer call() throws Exception {
    windows.check();
    json.check();
    SkipPolicy policy = skip.policy();
    ModelLimits limits = model.check();
    JsonObject result =
        source.text != null
            ? text(source.text, policy, limits)
            : tasks(requireNonNull(source.tasks), policy);
    json.write(() -> result);
    return 0;
  }

  private JsonObject text(Path text, SkipPolicy policy, ModelLimits limits) {
    task.requireNone("--text is none");
    TokenSequences tokens =
        TokenFiles.windows(
            model.folder(),
            text,
            format.format(),
            length.length(),
            limits.maxPositions(),
            windows.most());
    try (Model loaded = model.load()) {
      SkipCounter skipped = skip.install(loaded, policy);
      Perplexity result = Perplexity.of(loaded, tokens, new ConsoleProgress());
      System.out.printf(
          Locale.ROOT,
          "perplexity %.4f, nll %.6f, accuracy %.4f, %d windows of %d tokens%n",
          result.perplexity(),
          result.nll(),
          result.accuracy(),
          tokens.count(),
          tokens.length());
      JsonObject object = new JsonObject();
      object.addProperty("perplexity", result.perplexity());
      object.addProperty("nll", result.nll());
      object.addProperty("accuracy", result.accuracy());
      object.addProperty("tokens", result.tokens());
      report(skipped, object);
      return object;
    }
  }

  private JsonObject tasks(Path tasks, SkipPolicy policy) {
    if (length.length() != null || windows.most() != null) {
      throw new InvalidInputException(
          "--length and --windows need --text; leave them out with --tasks");
    }
    TaskPlan plan = task.read(tasks);
    try (TextTokenizer tokenizer = TextTokenizer.open(model.folder());
        Model loaded = model.load()) {
      SkipCounter skipped = skip.install(loaded, policy);
      JsonObject object = TaskTable.evaluate(plan, loaded, tokenizer);
      report(skipped, object);
      return object;
    }
  }

  private static void report(@Nullable SkipCounter skipped, JsonObject object) {
    if (skipped != null) {
      System.out.println(SkipOptions.describe(skipped.snapshot()));
      object.addProperty("skip_rate", skipped.snapshot().rate());
    }
  }
}
