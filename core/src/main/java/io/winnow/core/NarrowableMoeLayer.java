package io.winnow.core;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Optional;

/**
 * A MoE layer that shows the last matrices of its experts, so that these can be fitted anew and cut
 * to fewer channels.
 *
 * <p>Expert i computes {@code down_i h_i(x) + bias_i}, where {@code h_i(x)}, of {@link
 * #intermediateSize} channels, is {@link #expertIntermediate}; the layer adds the outputs times
 * routing weights. Where the routing {@link Routing#scalesInputs scales inputs}, the input of an
 * expert is x times its score, and the weight 1.
 */
public interface NarrowableMoeLayer extends MoeLayerView {
  /** Returns m, the channels of every expert. */
  int intermediateSize();

  /**
   * Returns an expert's last matrix with a row for every channel, to be read only.
   *
   * @param manager owns the result
   * @param expert 0 to {@link #numExperts()} - 1
   * @return {@code [intermediateSize, hiddenSize]}, float32
   */
  NDArray downProjection(NDManager manager, int expert);

  /**
   * Returns what is added behind an expert's last matrix, {@code [hiddenSize]} float32, if there is
   * something.
   *
   * @param manager owns the result
   */
  Optional<NDArray> downBias(NDManager manager, int expert);
}
