package io.winnow.core.kernel;

import io.winnow.core.RoutingDecision;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The pairs of token and expert of a layer, sorted by expert and then by token: expert {@code
 * experts[i]} takes the pairs from {@code starts[i]} to {@code starts[i + 1]}. A shared expert is
 * the last and takes every token.
 *
 * <p>An expert that no token takes does not occur, so that its weights are not read.
 *
 * @param ranks where a pair stands among its token's; -1 for the shared expert
 * @param inputs the factors of the experts' inputs, or null for 1
 */
record ExpertBatches(
    long[] experts,
    long[] starts,
    long[] tokens,
    float[] weights,
    int[] ranks,
    float @Nullable [] inputs) {

  /**
   * Sorts the pairs.
   *
   * @param factor multiplies every weight
   */
  static ExpertBatches of(ExpertMix mix, float factor) {
    RoutingDecision decision = mix.decision();
    float[] shared = mix.shared();
    int numExperts = mix.routed();
    long[] counts = decision == null ? new long[numExperts] : decision.counts(numExperts);
    int used = 0;
    int pairs = 0;
    int[] next = new int[numExperts];
    for (int expert = 0; expert < numExperts; expert++) {
      next[expert] = pairs;
      pairs += (int) counts[expert];
      used += counts[expert] > 0 ? 1 : 0;
    }
    int routed = pairs;
    if (shared != null) {
      used++;
      pairs += shared.length;
    }
    long[] experts = new long[used];
    long[] starts = new long[used + 1];
    int place = 0;
    for (int expert = 0; expert < numExperts; expert++) {
      if (counts[expert] > 0) {
        experts[place] = expert;
        starts[place] = next[expert];
        place++;
      }
    }
    starts[used] = pairs;
    long[] tokens = new long[pairs];
    float[] weights = new float[pairs];
    int[] ranks = new int[pairs];
    float[] inputFactors = mix.inputFactors();
    float[] inputs = inputFactors == null ? null : new float[pairs];
    if (inputs != null) {
      Arrays.fill(inputs, 1);
    }
    if (decision != null) {
      int topK = decision.topK();
      for (int token = 0; token < decision.tokens(); token++) {
        for (int rank = 0; rank < topK; rank++) {
          int expert = decision.expert(token, rank);
          if (expert != RoutingDecision.NONE) {
            int pair = next[expert]++;
            tokens[pair] = token;
            weights[pair] = factor * decision.weight(token, rank);
            ranks[pair] = rank;
            if (inputs != null && inputFactors != null) {
              inputs[pair] = inputFactors[token * topK + rank];
            }
          }
        }
      }
    }
    if (shared != null) {
      experts[used - 1] = numExperts;
      starts[used - 1] = routed;
      for (int token = 0; token < shared.length; token++) {
        tokens[routed + token] = token;
        weights[routed + token] = factor * shared[token];
        ranks[routed + token] = -1;
      }
    }
    return new ExpertBatches(experts, starts, tokens, weights, ranks, inputs);
  }
}
