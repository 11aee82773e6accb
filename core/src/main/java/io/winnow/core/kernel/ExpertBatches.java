package io.winnow.core.kernel;

import io.winnow.core.RoutingDecision;

/**
 * The pairs of token and expert of a routing decision, sorted by expert and then by token: expert
 * {@code experts[i]} takes the pairs from {@code starts[i]} to {@code starts[i + 1]}.
 *
 * <p>An expert that no token takes does not occur, so that its weights are not read.
 */
record ExpertBatches(long[] experts, long[] starts, long[] tokens, float[] weights, int[] ranks) {

  static ExpertBatches of(RoutingDecision decision, int numExperts) {
    long[] counts = decision.counts(numExperts);
    int used = 0;
    int pairs = 0;
    int[] next = new int[numExperts];
    for (int expert = 0; expert < numExperts; expert++) {
      next[expert] = pairs;
      pairs += (int) counts[expert];
      used += counts[expert] > 0 ? 1 : 0;
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
    for (int token = 0; token < decision.tokens(); token++) {
      for (int rank = 0; rank < decision.topK(); rank++) {
        int expert = decision.expert(token, rank);
        if (expert != RoutingDecision.NONE) {
          int pair = next[expert]++;
          tokens[pair] = token;
          weights[pair] = decision.weight(token, rank);
          ranks[pair] = rank;
        }
      }
    }
    return new ExpertBatches(experts, starts, tokens, weights, ranks);
  }
}
