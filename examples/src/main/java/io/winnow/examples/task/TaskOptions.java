package io.winnow.examples.task;

import com.google.common.hash.Hashing;
import io.winnow.core.InvalidInputException;
import io.winnow.core.evaluate.AnswerMatcher;
import io.winnow.core.evaluate.AnswerMatcher.Normalization;
import io.winnow.core.evaluate.MultipleChoiceQuestion;
import io.winnow.core.evaluate.Question;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.examples.options.Numbers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How questions are asked and answers are judged: the options of every command that has them. */
public final class TaskOptions {
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
   * Refuses options that mean nothing without questions.
   *
   * @param why why there are none
   */
  public void requireNone(String why) {
    Map<String, @Nullable Object> options = new LinkedHashMap<>();
    options.put("--few-shot", fewShot);
    options.put("--shots", shots);
    options.put("--extract", extract);
    options.put("--normalize", normalize);
    options.put("--stop", stop);
    options.put("--max-tokens", maxTokens);
    options.put("--batch", batch);
    options.values().removeIf(Objects::isNull);
    for (String given : options.keySet()) {
      throw new InvalidInputException(given + " is for questions, and " + why + "; leave it out");
    }
  }

  /** Reads all questions of a file, and checks the options against them. */
  public TaskPlan read(Path tasks) {
    return read(tasks, Integer.MAX_VALUE);
  }

  /**
   * Reads a task.
   *
   * @param most the first questions to take, or all if there are fewer
   */
  public TaskPlan read(Path tasks, int most) {
    if (shots != null && fewShot == null) {
      throw new InvalidInputException("--shots needs --few-shot, the file with the examples");
    }
    Numbers.requirePositive("--batch", batch);
    Numbers.requirePositive("--max-tokens", maxTokens);
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
    return new TaskPlan(questions, prefix, config(), matcher(), batch, digest(questions, prefix));
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
}
