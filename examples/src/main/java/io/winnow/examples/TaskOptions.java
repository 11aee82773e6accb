package io.winnow.examples;

import ai.djl.Model;
import com.google.common.hash.Hashing;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.evaluate.AnswerMatcher;
import io.winnow.core.evaluate.AnswerMatcher.Normalization;
import io.winnow.core.evaluate.Evaluator;
import io.winnow.core.evaluate.LogLikelihood;
import io.winnow.core.evaluate.MultipleChoiceQuestion;
import io.winnow.core.evaluate.MultipleChoiceResult;
import io.winnow.core.evaluate.OpenQuestion;
import io.winnow.core.evaluate.OpenResult;
import io.winnow.core.evaluate.Question;
import io.winnow.core.generate.GenerationConfig;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The options of {@code winnow evaluate --tasks} and {@code winnow evolve}, and what they do. */
final class TaskOptions {
  private static final int DEFAULT_MAX_TOKENS = 256;

  @Option(
      names = "--few-shot",
      paramLabel = "FILE.jsonl",
      description = "solved examples to put before every question")
  private @Nullable Path fewShot;

  @Option(
      names = "--shots",
      paramLabel = "N",
      description = "use the first N examples of --few-shot (default: all)")
  private @Nullable Integer shots;

  @Option(
      names = "--extract",
      paramLabel = "REGEX",
      description =
          "the part of an answer that counts: the first match, or its first group; accepted"
              + " answers are cut likewise")
  private @Nullable String extract;

  @Option(
      names = "--normalize",
      paramLabel = "HOW",
      description =
          "squad: compare answers without case, punctuation and articles (default); none: as they"
              + " are, for numbers")
  private @Nullable String normalize;

  @Option(
      names = "--stop",
      paramLabel = "TEXT",
      description = "text at which an answer ends; may be given several times")
  private @Nullable List<String> stop;

  @Option(
      names = "--max-tokens",
      paramLabel = "N",
      description = "tokens of an answer at most (default: " + DEFAULT_MAX_TOKENS + ")")
  private @Nullable Integer maxTokens;

  @Option(
      names = "--batch",
      paramLabel = "N",
      description = "questions computed together (default: 16)")
  private @Nullable Integer batch;

  /**
   * What is to be evaluated, read and checked before the model is loaded.
   *
   * @param digest identifies questions and options
   */
  record Plan(
      List<Question> questions,
      String fewShot,
      GenerationConfig config,
      AnswerMatcher matcher,
      @Nullable Integer batch,
      String digest) {
    List<MultipleChoiceQuestion> choices() {
      return questions.stream().map(MultipleChoiceQuestion.class::cast).toList();
    }

    List<OpenQuestion> open() {
      return questions.stream().map(OpenQuestion.class::cast).toList();
    }

    /** Returns the share of questions that a model answers right. */
    double accuracy(Model model, TextTokenizer tokenizer) {
      Evaluator evaluator = evaluator(model, tokenizer);
      return questions.get(0) instanceof MultipleChoiceQuestion
          ? evaluator.evaluate(evaluator.prepareChoices(choices(), fewShot)).accuracy()
          : evaluator
              .evaluate(evaluator.prepareOpen(open(), fewShot), config, matcher)
              .exactMatch();
    }

    Evaluator evaluator(Model model, TextTokenizer tokenizer) {
      Evaluator evaluator = Evaluator.of(model, tokenizer);
      return batch == null ? evaluator : evaluator.withBatch(batch);
    }
  }

  /**
   * Refuses options that mean nothing without questions.
   *
   * @param why why there are none
   */
  void requireNone(String why) {
    String given =
        fewShot != null
            ? "--few-shot"
            : shots != null
                ? "--shots"
                : extract != null
                    ? "--extract"
                    : normalize != null
                        ? "--normalize"
                        : stop != null
                            ? "--stop"
                            : maxTokens != null ? "--max-tokens" : batch != null ? "--batch" : null;
    if (given != null) {
      throw new InvalidInputException(given + " is for questions, and " + why + "; leave it out");
    }
  }

  Plan read(Path tasks) {
    return read(tasks, Integer.MAX_VALUE);
  }

  /**
   * Reads a task.
   *
   * @param most the first questions to take, or all if there are fewer
   */
  Plan read(Path tasks, int most) {
    if (shots != null && fewShot == null) {
      throw new InvalidInputException("--shots needs --few-shot, the file with the examples");
    }
    if (batch != null && batch < 1) {
      throw new InvalidInputException("--batch is " + batch + "; use at least 1");
    }
    if (maxTokens != null && maxTokens < 1) {
      throw new InvalidInputException("--max-tokens is " + maxTokens + "; use at least 1");
    }
    List<Question> all = Question.read(tasks);
    List<Question> questions = all.subList(0, Math.min(most, all.size()));
    if (questions.get(0) instanceof MultipleChoiceQuestion
        && (extract != null || normalize != null || stop != null || maxTokens != null)) {
      throw new InvalidInputException(
          tasks
              + " holds multiple-choice questions, for which nothing is generated; leave out"
              + " --extract, --normalize, --stop and --max-tokens");
    }
    String prefix = prefix();
    return new Plan(questions, prefix, config(), matcher(), batch, digest(questions, prefix));
  }

  private String digest(List<Question> questions, String prefix) {
    String all =
        Stream.of(questions, prefix, extract, normalize, stop, maxTokens, batch)
            .map(String::valueOf)
            .collect(Collectors.joining("\0"));
    return "sha256:" + Hashing.sha256().hashString(all, StandardCharsets.UTF_8);
  }

  private String prefix() {
    if (fewShot == null) {
      return "";
    }
    List<Question> examples = Question.read(fewShot);
    return Question.fewShot(examples, shots == null ? examples.size() : shots);
  }

  private GenerationConfig config() {
    GenerationConfig.Builder config =
        GenerationConfig.builder(maxTokens == null ? DEFAULT_MAX_TOKENS : maxTokens);
    if (stop != null) {
      config.optStopStrings(stop.toArray(String[]::new));
    }
    return config.build();
  }

  private AnswerMatcher matcher() {
    AnswerMatcher matcher =
        AnswerMatcher.squad()
            .withNormalization(
                switch (normalize == null ? "squad" : normalize) {
                  case "squad" -> Normalization.SQUAD;
                  case "none" -> Normalization.NONE;
                  default ->
                      throw new InvalidInputException(
                          "--normalize is '" + normalize + "'; choose squad or none");
                });
    return extract == null ? matcher : matcher.withExtraction(extract);
  }

  /** Evaluates a model, prints a table, and returns the result for a file. */
  static JsonObject evaluate(Plan plan, Model model, TextTokenizer tokenizer) {
    Evaluator evaluator = plan.evaluator(model, tokenizer);
    return plan.questions().get(0) instanceof MultipleChoiceQuestion
        ? choices(plan, evaluator)
        : open(plan, evaluator);
  }

  private static JsonObject choices(Plan plan, Evaluator evaluator) {
    List<MultipleChoiceQuestion> questions = plan.choices();
    MultipleChoiceResult result =
        evaluator.evaluate(
            evaluator.prepareChoices(questions, plan.fewShot()), new ConsoleProgress());
    JsonObject json = new JsonObject();
    json.addProperty("questions", questions.size());
    header(questions.size());
    measure(json, "acc", result.accuracy(), result.standardError(result.accuracy()));
    measure(
        json, "acc_norm", result.accuracyByCharacter(), result.standardError(result.accuracyByCharacter()));
    JsonArray answers = new JsonArray();
    for (MultipleChoiceResult.Answer answer : result.answers()) {
      JsonObject one = new JsonObject();
      one.addProperty("answer", answer.question().answer());
      one.addProperty("chosen", answer.chosen());
      one.addProperty("chosen_norm", answer.chosenByByte());
      JsonArray likelihoods = new JsonArray();
      answer.choices().stream().map(LogLikelihood::logLikelihood).forEach(likelihoods::add);
      one.add("log_likelihoods", likelihoods);
      answers.add(one);
    }
    json.add("answers", answers);
    return json;
  }

  private static JsonObject open(Plan plan, Evaluator evaluator) {
    List<OpenQuestion> questions = plan.open();
    OpenResult result =
        evaluator.evaluate(
            evaluator.prepareOpen(questions, plan.fewShot()),
            plan.config(),
            plan.matcher(),
            new ConsoleProgress());
    JsonObject json = new JsonObject();
    json.addProperty("questions", questions.size());
    header(questions.size());
    measure(json, "exact_match", result.exactMatch(), result.standardError(result.exactMatch()));
    System.out.printf(Locale.ROOT, "%-12s  %8.4f%n", "f1", result.f1());
    json.addProperty("f1", result.f1());
    JsonArray answers = new JsonArray();
    for (OpenResult.Answer answer : result.answers()) {
      JsonObject one = new JsonObject();
      one.addProperty("text", answer.text());
      one.addProperty("extracted", answer.extracted().orElse(null));
      one.addProperty("exact", answer.exact());
      one.addProperty("f1", answer.f1());
      answers.add(one);
    }
    json.add("answers", answers);
    return json;
  }

  private static void header(int questions) {
    System.out.printf(
        "%-12s  %8s  %8s   (%d questions)%n", "measure", "value", "std. err.", questions);
  }

  private static void measure(JsonObject json, String name, double value, double error) {
    System.out.printf(Locale.ROOT, "%-12s  %8.4f  %8.4f%n", name, value, error);
    json.addProperty(name, value);
    json.addProperty(name + "_stderr", error);
  }
}
