package io.winnow.core;

import ai.djl.ndarray.NDArray;

/**
 * One MoE layer of a running model, as pruning and skipping see it: its routing, its router, each
 * expert as a function, and what may be removed.
 *
 * <p>Winnow's own decoder implements it; a host application implements it over the arrays of a
 * model of its own. Views belong to their model and are closed with it. Reading methods may be
 * called by several threads at once; {@link #retain} excludes every other use of the model.
 */
public interface MoeLayerView {
  /** Returns the number of the decoder layer this is, counted from 0 with dense layers. */
  int layerIndex();

  /** Returns n, the number of routed experts that the layer has now. */
  int numExperts();

  /** Returns how router logits become experts and weights. */
  Routing routing();

  /**
   * Computes the router's logits.
   *
   * @param hidden the layer's input {@code [tokens, hiddenSize]}, float32, on the model's device
   * @return {@code [tokens, numExperts]} float32; the caller closes it
   */
  NDArray routerLogits(NDArray hidden);

  /**
   * Computes the output of one expert alone, before any routing weight; where the routing {@link
   * Routing#scalesInputs scales inputs}, of the input times the expert's score.
   *
   * @param expert 0 to {@link #numExperts()} - 1
   * @param hidden the layer's input {@code [tokens, hiddenSize]}, float32, on the model's device
   * @return {@code [tokens, hiddenSize]} float32, computed in float32 whatever the weights' type;
   *     the caller closes it
   */
  NDArray expertOutput(int expert, NDArray hidden);

  /**
   * Computes what the last matrix of one expert multiplies: the activated product of gate and up.
   * Needed for masks of weights only.
   *
   * @param expert 0 to {@link #numExperts()} - 1
   * @param hidden the expert's input {@code [tokens, hiddenSize]}, float32, on the model's device
   * @return {@code [tokens, intermediateSize]} float32, computed in float32 whatever the weights'
   *     type; the caller closes it
   * @throws UnsupportedOperationException unless overridden
   */
  default NDArray expertIntermediate(int expert, NDArray hidden) {
    throw new UnsupportedOperationException(
        getClass().getName()
            + " does not show what is inside of its experts; let it implement expertIntermediate");
  }

  /**
   * Removes every other expert for good, with its row of the gate, and frees its memory. The expert
   * at place i of {@code retained} becomes expert i.
   *
   * @param retained the experts that stay, ascending
   * @throws InvalidInputException if they are fewer than a token selects, not ascending, or
   *     unknown; nothing has been changed then
   */
  void retain(int... retained);
}
