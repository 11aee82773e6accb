package io.winnow.pruning;

import java.util.List;
import java.util.function.DoubleBinaryOperator;

/**
 * Scores of experts by their outputs on the tokens that select them; an expert that no token
 * selects has the score 0.
 */
final class ActivationScores {
  private ActivationScores() {}

  /** Returns for each expert the sum of a term of weight and norm over its tokens. */
  static double[] sum(LayerCalibration layer, DoubleBinaryOperator term) {
    double[] sums = new double[layer.numExperts()];
    layer.forEachSelection(
        (expert, weight, norm) -> sums[expert] += term.applyAsDouble(weight, norm));
    return sums;
  }

  /** Returns for each expert the mean of a term of weight and norm over its tokens. */
  static double[] mean(LayerCalibration layer, DoubleBinaryOperator term) {
    double[] means = sum(layer, term);
    double[] counts = layer.selectionCounts();
    for (int expert = 0; expert < means.length; expert++) {
      means[expert] /= Math.max(1, counts[expert]);
    }
    return means;
  }

  /** Returns for each expert the loss of removing it alone. */
  static double[] leaveOneOut(LayerCalibration layer) {
    double[] losses = new double[layer.numExperts()];
    if (layer.numExperts() == layer.routing().topK()) {
      return losses; // Every token needs all of them.
    }
    for (int expert = 0; expert < losses.length; expert++) {
      ExpertPruner.checkInterrupt();
      losses[expert] = layer.loss(layer.others(List.of(expert)));
    }
    return losses;
  }
}
