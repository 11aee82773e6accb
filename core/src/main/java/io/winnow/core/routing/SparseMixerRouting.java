package io.winnow.core.routing;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.routing.RetainedExperts;

/**
 * SparseMixer at inference (Phi-3.5-MoE; arXiv 2409.12136): two winners one after the other. A
 * winner has the greatest logit; its weight is its softmax among those close to it, whose distance
 * is at most {@code 2 jitter} of the greater of their own absolute value and the winner's logit.
 * The second is chosen likewise among the others.
 *
 * <p>Each winner's weight has a scale of its own, so that comparing the two says nothing. Immutable
 * and thread-safe.
 */
public final class SparseMixerRouting implements Routing {
  private static final int TOP_K = 2;

  private final float threshold;

  private SparseMixerRouting(float threshold) {
    this.threshold = threshold;
  }

  /** Creates a routing to two experts per token. */
  public static SparseMixerRouting of(double jitter) {
    if (!(jitter >= 0)) {
      throw new InvalidInputException("The router's jitter must be at least 0, is " + jitter);
    }
    return new SparseMixerRouting((float) (2 * jitter));
  }

  @Override
  public int topK() {
    return TOP_K;
  }

  @Override
  public boolean hasComparableWeights() {
    return false;
  }

  @Override
  public boolean isRenormalized() {
    return false;
  }

  @Override
  public Routing retain(int... retained) {
    RetainedExperts.checkCount(retained.length, TOP_K);
    return this;
  }

  @Override
  public RoutingDecision route(float[] logits, int numExperts) {
    if (numExperts < TOP_K || logits.length % numExperts != 0) {
      throw new InvalidInputException(
          logits.length + " logits of " + numExperts + " experts do not select 2 for each token");
    }
    int tokens = logits.length / numExperts;
    int[] experts = new int[tokens * TOP_K];
    float[] weights = new float[experts.length];
    for (int token = 0; token < tokens; token++) {
      int first = -1;
      for (int rank = 0; rank < TOP_K; rank++) {
        int winner = winner(logits, token * numExperts, numExperts, first);
        experts[token * TOP_K + rank] = winner;
        weights[token * TOP_K + rank] =
            weight(logits, token * numExperts, numExperts, first, winner);
        first = winner;
      }
    }
    return RoutingDecision.of(TOP_K, experts, weights);
  }

  private static int winner(float[] logits, int row, int numExperts, int excluded) {
    int best = -1;
    for (int expert = 0; expert < numExperts; expert++) {
      SoftmaxRouting.checkFinite(expert, logits[row + expert]);
      if (expert != excluded && (best < 0 || logits[row + expert] > logits[row + best])) {
        best = expert;
      }
    }
    return best;
  }

  private float weight(float[] logits, int row, int numExperts, int excluded, int winner) {
    float greatest = logits[row + winner];
    double sum = 0;
    for (int expert = 0; expert < numExperts; expert++) {
      float logit = logits[row + expert];
      // In float32, as the model was trained with: a rounding more would move the border.
      float distance = (greatest - logit) / Math.max(Math.abs(logit), greatest);
      if (expert != excluded && !(distance > threshold)) {
        sum += Math.exp((double) logit - greatest);
      }
    }
    return (float) (1 / sum);
  }

  /** Returns the softmax over all experts, which neither winner's weight is. */
  @Override
  public float[] scores(float[] logits, int numExperts) {
    return SoftmaxRouting.of(TOP_K, false).scores(logits, numExperts);
  }

  @Override
  public String toString() {
    return "sparsemixer, two winners";
  }
}
