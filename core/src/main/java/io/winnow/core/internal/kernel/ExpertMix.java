package io.winnow.core.internal.kernel;

import io.winnow.core.RoutingDecision;
import org.jspecify.annotations.Nullable;

/**
 * What experts add for each token.
 *
 * @param decision the routed experts and their weights; null in a dense layer
 * @param weights of the routed experts, then of the shared one if there is one
 * @param shared the shared expert's weight for each token; null if there is none
 * @param inputFactors factors of the routed experts' inputs, {@code [tokens, topK]}; null for 1
 */
public record ExpertMix(
    @Nullable RoutingDecision decision,
    ExpertWeights weights,
    float @Nullable [] shared,
    float @Nullable [] inputFactors) {

  /** Returns the number of tokens. */
  public int tokens() {
    return decision == null ? sharedWeights().length : decision.tokens();
  }

  /** Returns the routed experts, which come before the shared one. */
  public int routed() {
    return weights.gate().size() - (shared == null ? 0 : 1);
  }

  float[] sharedWeights() {
    if (shared == null) {
      throw new IllegalStateException("A layer needs routed experts or a shared one");
    }
    return shared;
  }
}
