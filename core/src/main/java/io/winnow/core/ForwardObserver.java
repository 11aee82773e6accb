package io.winnow.core;

import ai.djl.ndarray.NDArray;
import org.jspecify.annotations.Nullable;

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

  /**
   * Computes what the routed experts of a layer add, in the model's place. Is called after {@link
   * #onInput}; the layer's router and {@link #onRouting} are then not asked.
   *
   * @param hidden as in {@link #onInput}
   * @return the weighted sum of the experts' outputs, {@code [tokens, hiddenSize]} float32, without
   *     shared experts; the model closes it. Null to leave it to the model
   */
  default @Nullable NDArray routedOutput(MoeLayerView layer, NDArray hidden) {
    return null;
  }

  @Override
  default RoutingDecision onRouting(MoeLayerView layer, float[] logits, RoutingDecision decision) {
    return decision;
  }
}
