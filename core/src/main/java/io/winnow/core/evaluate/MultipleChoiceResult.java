package io.winnow.core.evaluate;

import com.google.common.base.Utf8;
import java.util.List;
import java.util.function.ToIntFunction;

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
   * @param chosenByCharacter the likeliest choice where each log-likelihood is divided by the
   *     number of its choice's characters (Unicode code points, blanks included); the first of
   *     equal ones
   * @param chosenByByte the same with the length of the choice in UTF-8 bytes
   */
  public record Answer(
      MultipleChoiceQuestion question,
      List<LogLikelihood> choices,
      int chosen,
      int chosenByCharacter,
      int chosenByByte) {
    /** Creates an answer; the list is copied. */
    public Answer {
      choices = List.copyOf(choices);
    }

    /** Chooses as lm-evaluation-harness 0.4.13 does. */
    static Answer of(MultipleChoiceQuestion question, List<LogLikelihood> choices) {
      return new Answer(
          question,
          choices,
          likeliest(question, choices, choice -> 1),
          likeliest(question, choices, choice -> choice.codePointCount(0, choice.length())),
          likeliest(question, choices, Utf8::encodedLength));
    }

    private static int likeliest(
        MultipleChoiceQuestion question,
        List<LogLikelihood> choices,
        ToIntFunction<String> length) {
      int best = 0;
      double[] values = new double[choices.size()];
      for (int i = 0; i < values.length; i++) {
        values[i] = choices.get(i).logLikelihood() / length.applyAsInt(question.choices().get(i));
        best = values[i] > values[best] ? i : best;
      }
      return best;
    }
  }

  /** Returns the share of right answers ({@code acc}). */
  public double accuracy() {
    return mean(answers.stream().filter(a -> a.chosen() == a.question().answer()).count());
  }

  /** Returns the share of right answers by {@link Answer#chosenByCharacter} ({@code acc_norm}). */
  public double accuracyByCharacter() {
    return mean(
        answers.stream().filter(a -> a.chosenByCharacter() == a.question().answer()).count());
  }

  /** Returns the share of right answers by {@link Answer#chosenByByte} ({@code acc_bytes}). */
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
