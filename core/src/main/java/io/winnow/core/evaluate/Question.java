package io.winnow.core.evaluate;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonLines;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** A question with a known answer, of which tasks consist. */
public sealed interface Question permits MultipleChoiceQuestion, OpenQuestion {
  /** What stands between two examples, as in lm-evaluation-harness. */
  String SEPARATOR = "\n\n";

  /** Returns the question's text with its right answer, as an example. */
  String solved();

  /**
   * Reads a .jsonl file with a question on every line: {@code {"context": "…", "choices": ["…",
   * "…"], "answer": 0}} is a {@link MultipleChoiceQuestion}, {@code {"prompt": "…", "answer": "…"}}
   * an {@link OpenQuestion}, whose answer may also be a list of accepted ones. Other fields are
   * passed over.
   *
   * @return the questions in the file's order, all of one kind, at least one
   * @throws InvalidInputException if the file cannot be read, or a line is no question or of
   *     another kind than the first; the message has the line's number
   */
  static List<Question> read(Path file) {
    if (!Files.isRegularFile(file)) {
      throw new InvalidInputException(
          (Files.exists(file) ? "Not a file: " : "No such file: ")
              + file
              + ". A task is a .jsonl file with a question on every line.");
    }
    List<Question> questions = new ArrayList<>();
    JsonLines.read(
        file,
        MultipleChoiceQuestion.EXAMPLE + " or " + OpenQuestion.EXAMPLE,
        line -> {
          Question question = parse(line);
          if (!questions.isEmpty() && questions.get(0).getClass() != question.getClass()) {
            throw new InvalidInputException(
                line.name()
                    + " is of another kind than the first question: a file holds multiple-choice"
                    + " questions (\"choices\") or open ones (\"prompt\"); split it");
          }
          questions.add(question);
        });
    if (questions.isEmpty()) {
      throw new InvalidInputException(file + " holds no question; put one on every line");
    }
    return List.copyOf(questions);
  }

  /**
   * Returns the text that puts solved examples before every question: the first ones, each followed
   * by {@link #SEPARATOR}; empty for none.
   *
   * @throws InvalidInputException if there are fewer examples than {@code shots}, or that is
   *     negative
   */
  static String fewShot(List<? extends Question> examples, int shots) {
    if (shots < 0 || shots > examples.size()) {
      throw new InvalidInputException(
          String.format(
              "%d examples are wanted of %d; use 0 to %d",
              shots, examples.size(), examples.size()));
    }
    return examples.stream()
        .limit(shots)
        .map(example -> example.solved() + SEPARATOR)
        .collect(Collectors.joining());
  }

  private static Question parse(JsonLines.Line line) {
    try {
      if (line.json().has("choices")) {
        List<String> choices = new ArrayList<>();
        for (JsonElement choice : array(line, "choices")) {
          choices.add(text(line, "choices", choice));
        }
        return new MultipleChoiceQuestion(
            text(line, "context", line.json().get("context")), choices, index(line));
      }
      if (line.json().has("prompt")) {
        List<String> answers = new ArrayList<>();
        JsonElement answer = line.json().get("answer");
        if (answer != null && answer.isJsonArray()) {
          for (JsonElement accepted : array(line, "answer")) {
            answers.add(text(line, "answer", accepted));
          }
        } else {
          answers.add(text(line, "answer", answer));
        }
        return new OpenQuestion(text(line, "prompt", line.json().get("prompt")), answers);
      }
    } catch (InvalidQuestionException e) {
      throw new InvalidInputException(line.name() + ": " + e.getMessage(), e);
    }
    throw new InvalidInputException(
        line.name()
            + " has neither \"choices\" nor \"prompt\" but the fields "
            + line.json().keySet()
            + "; a line looks like "
            + MultipleChoiceQuestion.EXAMPLE
            + " or "
            + OpenQuestion.EXAMPLE);
  }

  private static JsonArray array(JsonLines.Line line, String field) {
    JsonElement element = line.json().get(field);
    if (!element.isJsonArray()) {
      throw new InvalidQuestionException(
          "\"" + field + "\" is " + JsonLines.kindOf(element) + "; make it an array of strings");
    }
    return element.getAsJsonArray();
  }

  private static String text(JsonLines.Line line, String field, @Nullable JsonElement element) {
    if (element == null) {
      throw new InvalidQuestionException(
          "there is no field \"" + field + "\" beside " + line.json().keySet() + "; add it");
    }
    if (!element.isJsonPrimitive() || !element.getAsJsonPrimitive().isString()) {
      throw new InvalidQuestionException(
          "\"" + field + "\" holds " + JsonLines.kindOf(element) + " where a string belongs");
    }
    return element.getAsString();
  }

  private static int index(JsonLines.Line line) {
    JsonElement answer = line.json().get("answer");
    if (answer == null || !answer.isJsonPrimitive() || !answer.getAsJsonPrimitive().isNumber()) {
      throw new InvalidQuestionException(
          "\"answer\" is "
              + (answer == null ? "missing" : JsonLines.kindOf(answer))
              + "; give the right choice's number, from 0");
    }
    try {
      return answer.getAsBigDecimal().intValueExact();
    } catch (ArithmeticException | NumberFormatException e) {
      throw new InvalidQuestionException(
          "\"answer\" is " + answer + "; give the right choice's number, from 0");
    }
  }
}
