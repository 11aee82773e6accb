package io.winnow.core.evaluate;

import java.util.List;

/**
 * How a model answered multiple-choice questions.
 *
 * @param answers in the questions' order
 */
public record MultipleChoiceResult(List<Answer> answers) {
  /** Creates a result; the list is copied. */
  public MultipleChoiceResult {
    answers = List.copyOf(answers);
  }

  /**
   * The answer to one question.
   *
   * @param question the question
   * @param choices how likely each choice is
   * @param chosen the likeliest choice; the first of equal ones
   * @param chosenByByte the likeliest choice where each log-likelihood is divided by the length of
   *     its choice in UTF-8 bytes; the first of equal ones
   */
  public record Answer(
      MultipleChoiceQuestion question, List<LogLikelihood> choices, int chosen, int chosenByByte) {
    /** Creates an answer; the list is copied. */
    public Answer {
      choices = List.copyOf(choices);
    }
  }

  /** Returns the share of right answers ({@code acc}). */
  public double accuracy() {
    return mean(answers.stream().filter(a -> a.chosen() == a.question().answer()).count());
  }

  /** Returns the share of right answers by {@link Answer#chosenByByte} ({@code acc_norm}). */
  public double accuracyByByte() {
    return mean(answers.stream().filter(a -> a.chosenByByte() == a.question().answer()).count());
  }

  private double mean(long right) {
    return (double) right / answers.size();
  }

  /**
   * Returns the standard error of a share of these questions, as lm-evaluation-harness: that of the
   * mean of a sample; 0 for a single question.
   */
  public double standardError(double share) {
    return StandardError.of(share, answers.size());
  }
}
