package io.winnow.core.internal.kernel;

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
public record ExpertBatches(
    long[] experts,
    long[] starts,
    long[] tokens,
    float[] weights,
    int[] ranks,
    float @Nullable [] inputs) {

  /**
   * Sorts all pairs.
   *
   * @param factor multiplies every weight
   */
  public static ExpertBatches of(ExpertMix mix, float factor) {
    return of(mix, factor, 0, mix.tokens());
  }

  /** Sorts the pairs of the tokens from {@code first} to {@code end}, which is not among them. */
  public static ExpertBatches of(ExpertMix mix, float factor, int first, int end) {
    RoutingDecision decision = mix.decision();
    float[] shared = mix.shared();
    int numExperts = mix.routed();
    int topK = decision == null ? 0 : decision.topK();
    int[] counts = new int[numExperts];
    if (decision != null) {
      for (int token = first; token < end; token++) {
        for (int rank = 0; rank < topK; rank++) {
          int expert = decision.expert(token, rank);
          if (expert != RoutingDecision.NONE) {
            counts[expert]++;
          }
        }
      }
    }
    int used = 0;
    int pairs = 0;
    int[] next = new int[numExperts];
    for (int expert = 0; expert < numExperts; expert++) {
      next[expert] = pairs;
      pairs += counts[expert];
      used += counts[expert] > 0 ? 1 : 0;
    }
    int routed = pairs;
    if (shared != null) {
      used++;
      pairs += end - first;
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
      for (int token = first; token < end; token++) {
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
      for (int token = first; token < end; token++) {
        int pair = routed + token - first;
        tokens[pair] = token;
        weights[pair] = factor * shared[token];
        ranks[pair] = -1;
      }
    }
    return new ExpertBatches(experts, starts, tokens, weights, ranks, inputs);
  }

  /** Returns the same pairs token by token; of a token in the order of its experts. */
  public ByToken byToken(int first, int end) {
    long[] starts = new long[end - first + 1];
    for (long token : tokens) {
      starts[(int) token - first + 1]++;
    }
    for (int i = 0; i < end - first; i++) {
      starts[i + 1] += starts[i];
    }
    long[] next = starts.clone();
    long[] pairs = new long[tokens.length];
    float[] sorted = new float[tokens.length];
    for (int pair = 0; pair < tokens.length; pair++) {
      int place = (int) next[(int) tokens[pair] - first]++;
      pairs[place] = pair;
      sorted[place] = weights[pair];
    }
    return new ByToken(pairs, starts, sorted);
  }

  /**
   * The pairs sorted by token: those of the i-th one are {@code pairs[starts[i]]} to {@code
   * pairs[starts[i + 1] - 1]}, with the weights at the same places.
   */
  public record ByToken(long[] pairs, long[] starts, float[] weights) {}
}
