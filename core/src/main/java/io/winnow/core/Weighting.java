package io.winnow.core;

/**
 * How a routing weighs experts whose order is fixed: a token selects the first k retained experts
 * in descending order of {@link Routing#selectionScores}, whatever else is removed, and the weight
 * of a selected expert is {@code factor * mass / divisor}. From it a search knows what a removal
 * does to a token without routing again.
 *
 * @param mass what an expert's logit alone gives
 * @param divisor what the masses are divided by
 * @param addend added to the sum of the selected masses
 * @param least what that sum counts as at least
 * @param factor a factor of all weights
 */
public record Weighting(Mass mass, Divisor divisor, double addend, double least, double factor) {
  /** Logits so far below a token's greatest count as that far, lest squared masses vanish. */
  private static final double LEAST_LOGIT = -300;

  /** What an expert's logit alone gives. */
  public enum Mass {
    /** The exponential of the logit, up to a common factor of all experts of a token. */
    EXPONENTIAL,
    /** The sigmoid of the logit. */
    SIGMOID,
    /** 1. */
    ONE
  }

  /** What masses are divided by. */
  public enum Divisor {
    /** The sum of the masses of the selected experts, plus the addend, or the least. */
    SELECTED,
    /** The sum of the masses of all retained experts. */
    RETAINED,
    /** 1. */
    NONE
  }

  /** Creates a weighting without addend, least and factor. */
  public static Weighting of(Mass mass, Divisor divisor) {
    return new Weighting(mass, divisor, 0, 0, 1);
  }

  /**
   * Returns the mass of every expert, row-major {@code [tokens, experts]}.
   *
   * @param logits {@code [tokens, experts]}
   */
  public double[] masses(float[] logits, int experts) {
    double[] masses = new double[logits.length];
    for (int row = 0; row < logits.length; row += experts) {
      double greatest = Double.NEGATIVE_INFINITY;
      for (int i = row; i < row + experts; i++) {
        greatest = Math.max(greatest, logits[i]);
      }
      for (int i = row; i < row + experts; i++) {
        masses[i] =
            switch (mass) {
              case EXPONENTIAL -> Math.exp(Math.max(logits[i] - greatest, LEAST_LOGIT));
              case SIGMOID -> 1 / (1 + Math.exp(-(double) logits[i]));
              case ONE -> 1;
            };
      }
    }
    return masses;
  }
}
