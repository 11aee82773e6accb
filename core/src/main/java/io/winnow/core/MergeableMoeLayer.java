package io.winnow.core;

/**
 * A MoE layer that can run with merged experts, and go back to its own: what evolutionary search
 * (EEP, arXiv 2407.00945) tries hundreds of times.
 *
 * <p>Both methods exclude every other use of the model. The layer's own weights are never changed.
 * Merged weights lie in memory that the next merge uses again, and that goes with the model; a
 * merged expert that is one of the layer's own takes none.
 *
 * <p>While a merge is applied, observers and router hooks see its experts: logits {@code [tokens,
 * r]} (logarithms of the mapped scores), and decisions over 0 to r - 1. {@link #retain} is refused.
 */
public interface MergeableMoeLayer extends MoeLayerView {
  /**
   * Runs the layer from now on as this merge says, in place of an earlier one. {@link #numExperts},
   * {@link #routing}, {@link #routerLogits} and {@link #expertOutput} go on to describe the layer
   * without it.
   *
   * @param merge of this layer's {@link #numExperts} experts into at least {@code topK}
   * @param topK k from now on, from 1 to the merge's r; may be lower than the layer's own
   * @throws InvalidInputException if it does not fit the layer; nothing has been changed then
   */
  void applyMerge(ExpertMerge merge, int topK);

  /** Runs the layer with its own experts and top-k again. Does nothing if it does so already. */
  void undoMerge();
}
