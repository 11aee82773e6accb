package io.winnow.pruning.internal.search;

import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.List;
import java.util.function.DoubleBinaryOperator;

/**
 * Scores of experts by their outputs on the tokens that select them; an expert that no token
 * selects has the score 0.
 */
public final class ActivationScores {
  private ActivationScores() {}

  /** Returns for each expert the sum of a term of weight and norm over its tokens. */
  public static double[] sum(InnerProductTable table, DoubleBinaryOperator term) {
    double[] sums = new double[table.numExperts()];
    table.forEachSelection(
        (expert, weight, norm) -> sums[expert] += term.applyAsDouble(weight, norm));
    return sums;
  }

  /** Returns for each expert the mean of a term of weight and norm over its tokens. */
  public static double[] mean(InnerProductTable table, DoubleBinaryOperator term) {
    double[] means = sum(table, term);
    double[] counts = table.selectionCounts();
    for (int expert = 0; expert < means.length; expert++) {
      means[expert] /= Math.max(1, counts[expert]);
    }
    return means;
  }

  /** Returns REAP's score: the mean of the weight times the output's norm. */
  public static double[] reap(InnerProductTable table) {
    return mean(table, (weight, norm) -> weight * norm);
  }

  /** Returns for each expert the loss of removing it alone. */
  public static double[] leaveOneOut(InnerProductTable table) {
    double[] losses = new double[table.numExperts()];
    if (table.numExperts() == table.routing().topK()) {
      return losses; // Every token needs all of them.
    }
    for (int expert = 0; expert < losses.length; expert++) {
      Interrupts.check();
      losses[expert] = table.loss(table.others(List.of(expert)));
    }
    return losses;
  }
}
