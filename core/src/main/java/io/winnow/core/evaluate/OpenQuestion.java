package io.winnow.core.evaluate;

import io.winnow.core.InvalidInputException;
import java.util.List;

/**
 * A question that the model answers in its own words.
 *
 * @param prompt what the model continues; not empty
 * @param answers the accepted answers, at least one; the one that fits best counts
 */
public record OpenQuestion(String prompt, List<String> answers) implements Question {
  static final String EXAMPLE = "{\"prompt\": \"…\", \"answer\": \"…\"}";

  /**
   * Creates a question.
   *
   * @throws InvalidInputException if the prompt is empty or there is no answer
   */
  public OpenQuestion {
    answers = List.copyOf(answers);
    if (prompt.isEmpty()) {
      throw new InvalidQuestionException("the prompt is empty; give the model a text to continue");
    }
    if (answers.isEmpty()) {
      throw new InvalidQuestionException("there is no accepted answer; give at least 1");
    }
  }

  /** Returns the prompt and the first answer, with a blank where neither has one between them. */
  @Override
  public String solved() {
    String answer = answers.get(0);
    boolean apart =
        answer.isEmpty()
            || Character.isWhitespace(prompt.charAt(prompt.length() - 1))
            || Character.isWhitespace(answer.charAt(0));
    return prompt + (apart ? "" : " ") + answer;
  }
}
