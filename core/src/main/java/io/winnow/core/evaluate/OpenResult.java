package io.winnow.core.evaluate;

import java.util.List;
import java.util.Optional;

/**
 * How a model answered open questions.
 *
 * @param answers in the questions' order
 */
public record OpenResult(List<Answer> answers) {
  /** Creates a result; the list is copied. */
  public OpenResult {
    answers = List.copyOf(answers);
  }

  /**
   * The answer to one question.
   *
   * @param question the question
   * @param text what the model generated
   * @param extracted the part that counts; empty if the expression to extract it does not match
   * @param exact whether it equals an accepted answer
   * @param f1 the greatest token F1 with an accepted answer, 0 to 1
   */
  public record Answer(
      OpenQuestion question, String text, Optional<String> extracted, boolean exact, double f1) {}

  /** Returns the share of answers that equal an accepted one. */
  public double exactMatch() {
    return (double) answers.stream().filter(Answer::exact).count() / answers.size();
  }

  /** Returns the mean token F1. */
  public double f1() {
    return answers.stream().mapToDouble(Answer::f1).sum() / answers.size();
  }

  /** Returns the standard error of a share of these questions; 0 for a single question. */
  public double standardError(double share) {
    return StandardError.of(share, answers.size());
  }
}
