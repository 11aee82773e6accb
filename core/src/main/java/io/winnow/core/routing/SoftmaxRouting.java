package io.winnow.core.routing;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import io.winnow.core.Weighting.Mass;
import io.winnow.core.internal.routing.RetainedExperts;
import java.util.Optional;

/**
 * Softmax over the experts, then the k highest; their weights divided by their sum (Mixtral,
 * Qwen3-MoE) or left as they are (OLMoE, Qwen1.5-MoE).
 *
 * <p>Immutable and thread-safe.
 */
public final class SoftmaxRouting implements Routing {
  private final int topK;
  private final boolean renormalized;
  private final boolean logarithms;

  private SoftmaxRouting(int topK, boolean renormalized, boolean logarithms) {
    this.topK = topK;
    this.renormalized = renormalized;
    this.logarithms = logarithms;
  }

  /**
   * Creates a routing.
   *
   * @param topK experts per token, at least 1
   * @param renormalized whether the weights of the selected experts are divided by their sum
   */
  public static SoftmaxRouting of(int topK, boolean renormalized) {
    if (topK < 1) {
      throw new InvalidInputException("A token needs at least 1 expert, top-k is " + topK);
    }
    return new SoftmaxRouting(topK, renormalized, false);
  }

  /**
   * Creates a routing of logits that are logarithms of scores already, so that without
   * renormalisation a weight is the score itself. Renormalised, it is the same as {@link #of}.
   */
  static SoftmaxRouting ofLogarithms(int topK, boolean renormalized) {
    return new SoftmaxRouting(of(topK, renormalized).topK, renormalized, !renormalized);
  }

  @Override
  public int topK() {
    return topK;
  }

  @Override
  public boolean isRenormalized() {
    return renormalized;
  }

  @Override
  public Routing retain(int... retained) {
    RetainedExperts.checkCount(retained.length, topK);
    return this;
  }

  /** Returns the logits: of the same order as the scores, and of none are two rounded to one. */
  @Override
  public double[] selectionScores(float[] logits, int numExperts) {
    return asDoubles(logits);
  }

  static double[] asDoubles(float[] logits) {
    double[] values = new double[logits.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = logits[i];
    }
    return values;
  }

  @Override
  public Optional<Weighting> weighting() {
    return logarithms
        ? Optional.empty()
        : Optional.of(
            Weighting.of(Mass.EXPONENTIAL, renormalized ? Divisor.SELECTED : Divisor.RETAINED));
  }

  @Override
  public RoutingDecision route(float[] logits, int numExperts) {
    int tokens = tokens(logits, numExperts);
    int[] experts = new int[tokens * topK];
    float[] weights = new float[tokens * topK];
    double[] exponentials = new double[topK];
    for (int token = 0; token < tokens; token++) {
      int row = token * numExperts;
      int out = token * topK;
      select(logits, row, numExperts, experts, out);
      double greatest = logits[row + experts[out]];
      double sum = 0;
      for (int rank = 0; rank < topK; rank++) {
        exponentials[rank] = Math.exp(logits[row + experts[out + rank]] - greatest);
        // From the selected logits alone: bit for bit the same whatever other experts exist.
        sum += exponentials[rank];
      }
      if (logarithms) {
        sum = Math.exp(-greatest);
      } else if (!renormalized) {
        sum = 0;
        for (int expert = 0; expert < numExperts; expert++) {
          sum += Math.exp(logits[row + expert] - greatest);
        }
      }
      for (int rank = 0; rank < topK; rank++) {
        weights[out + rank] = (float) (exponentials[rank] / sum);
      }
    }
    return RoutingDecision.of(topK, experts, weights);
  }

  /** Keeps the topK best in order by insertion; strict comparison puts the lower index first. */
  private void select(float[] logits, int row, int numExperts, int[] experts, int out) {
    int filled = 0;
    for (int expert = 0; expert < numExperts; expert++) {
      float logit = logits[row + expert];
      checkFinite(expert, logit);
      int place = filled;
      while (place > 0 && logit > logits[row + experts[out + place - 1]]) {
        place--;
      }
      if (place < topK) {
        int last = Math.min(filled, topK - 1);
        for (int i = last; i > place; i--) {
          experts[out + i] = experts[out + i - 1];
        }
        experts[out + place] = expert;
        filled = Math.min(filled + 1, topK);
      }
    }
  }

  static void checkFinite(int expert, float logit) {
    if (!Float.isFinite(logit)) {
      throw new InvalidInputException(
          "The router's logit of expert "
              + expert
              + " is "
              + logit
              + ": the weights or the inputs are not finite, and nothing can be chosen by them");
    }
  }

  @Override
  public float[] scores(float[] logits, int numExperts) {
    int tokens = tokens(logits, numExperts);
    float[] scores = new float[logits.length];
    if (logarithms) {
      for (int i = 0; i < scores.length; i++) {
        scores[i] = (float) Math.exp(logits[i]);
      }
      return scores;
    }
    for (int token = 0; token < tokens; token++) {
      int row = token * numExperts;
      double greatest = Double.NEGATIVE_INFINITY;
      for (int expert = 0; expert < numExperts; expert++) {
        greatest = Math.max(greatest, logits[row + expert]);
      }
      double sum = 0;
      for (int expert = 0; expert < numExperts; expert++) {
        sum += Math.exp(logits[row + expert] - greatest);
      }
      for (int expert = 0; expert < numExperts; expert++) {
        scores[row + expert] = (float) (Math.exp(logits[row + expert] - greatest) / sum);
      }
    }
    return scores;
  }

  /**
   * Returns the weights of the selected experts as a differentiable function of the logits.
   *
   * @param logits {@code [tokens, experts]} float32
   * @param selected {@code [tokens, topK]} int64
   * @return {@code [tokens, topK]} float32, owned by the logits' manager
   */
  public NDArray weights(NDArray logits, NDArray selected) {
    if (renormalized) {
      return logits.gather(selected, 1).softmax(1);
    }
    return scores(logits).gather(selected.toType(DataType.INT64, false), 1);
  }

  /** Returns the scores {@code [tokens, experts]} as a differentiable function of the logits. */
  NDArray scores(NDArray logits) {
    return logarithms ? logits.exp() : logits.softmax(1);
  }

  private int tokens(float[] logits, int numExperts) {
    if (numExperts < topK) {
      throw new InvalidInputException(
          "A layer of " + numExperts + " experts cannot select " + topK + " for each token");
    }
    if (logits.length % numExperts != 0) {
      throw new IllegalArgumentException(
          logits.length + " logits do not make rows of " + numExperts + " experts");
    }
    return logits.length / numExperts;
  }

  @Override
  public String toString() {
    return (logarithms ? "scores, top-" : "softmax, top-")
        + topK
        + (renormalized ? ", renormalised" : "");
  }
}
