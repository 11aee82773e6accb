package io.winnow.core;

import ai.djl.ndarray.NDArray;

/** Watches one forward pass from layer to layer, and may change what the router decided. */
public interface ForwardObserver extends RouterHook {
  /**
   * Is called with the input of each MoE layer, before routing.
   *
   * @param hidden {@code [tokens, hiddenSize]} float32, sequence after sequence; must not be
   *     changed, and is closed by the model after the call
   * @return false to end the pass here, because nothing that follows is of interest
   */
  default boolean onInput(MoeLayerView layer, NDArray hidden) {
    return true;
  }

  @Override
  default RoutingDecision onRouting(MoeLayerView layer, float[] logits, RoutingDecision decision) {
    return decision;
  }
}
