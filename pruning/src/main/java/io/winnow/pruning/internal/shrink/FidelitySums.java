package io.winnow.pruning.internal.shrink;

import java.util.ArrayList;
import java.util.List;

/** How far a model's predictions are from the full model's, summed over sequences. */
public final class FidelitySums {
  private final List<Double> divergences = new ArrayList<>();
  private double same;
  private double common;
  private double lossOfFull;
  private double loss;
  private long tokens;
  private long predicted;

  /**
   * Adds a sequence.
   *
   * @param rows what {@code FitKernel.fidelity} returns; nothing follows the last token
   */
  void add(float[][] rows) {
    int length = rows[0].length;
    double divergence = 0;
    for (int i = 0; i < length; i++) {
      divergence += rows[0][i];
      same += rows[1][i];
      common += rows[2][i];
      if (i < length - 1) {
        lossOfFull += rows[3][i];
        loss += rows[4][i];
        predicted++;
      }
    }
    divergences.add(divergence / length);
    tokens += length;
  }

  /** Returns the number of tokens. */
  public long tokens() {
    return tokens;
  }

  /** Returns the mean of KL(full || this), in nats. */
  public double divergence() {
    return divergences.stream().mapToDouble(Double::doubleValue).average().orElse(0);
  }

  /** Returns the share of tokens at which both have the same most likely next token. */
  public double agreement() {
    return same / tokens;
  }

  /** Returns the mean of the sum of min(p, q) over the vocabulary. */
  public double overlap() {
    return common / tokens;
  }

  /** Returns this model's perplexity. */
  public double perplexity() {
    return Math.exp(loss / predicted);
  }

  /** Returns the full model's perplexity. */
  public double perplexityOfFull() {
    return Math.exp(lossOfFull / predicted);
  }
}
