package io.winnow.core.evaluate;

import io.winnow.core.InvalidInputException;
import java.util.List;

/**
 * A question whose answer is one of several continuations of its context.
 *
 * @param context the text before the choices; may be empty
 * @param choices the continuations, two or more, none of them empty; a blank between context and
 *     choice belongs to either
 * @param answer the number of the right choice, from 0
 */
public record MultipleChoiceQuestion(String context, List<String> choices, int answer)
    implements Question {
  static final String EXAMPLE = "{\"context\": \"…\", \"choices\": [\"…\", \"…\"], \"answer\": 0}";

  /**
   * Creates a question.
   *
   * @throws InvalidInputException if there are fewer than two choices, one is empty, or the answer
   *     is none of them
   */
  public MultipleChoiceQuestion {
    choices = List.copyOf(choices);
    if (choices.size() < 2) {
      throw new InvalidQuestionException(
          "a question has at least 2 choices, this one has " + choices.size());
    }
    if (choices.contains("")) {
      throw new InvalidQuestionException(
          "choice " + choices.indexOf("") + " is empty, which has no likelihood; give it a text");
    }
    if (answer < 0 || answer >= choices.size()) {
      throw new InvalidQuestionException(
          String.format(
              "the answer is %d, but the choices are numbered from 0 to %d",
              answer, choices.size() - 1));
    }
  }

  @Override
  public String solved() {
    return context + choices.get(answer);
  }
}
