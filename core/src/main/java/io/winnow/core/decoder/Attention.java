package io.winnow.core.decoder;

import io.winnow.core.kernel.DeviceTensor;
import io.winnow.core.kernel.KeyValueCache;
import io.winnow.core.kernel.TensorList;
import java.util.List;

/** Grouped-query attention with rotary embedding, behind its RMS norm and added to the residual. */
final class Attention extends DecoderBlock {
  private final int layer;
  private final List<Weight> weights;
  private final TensorList tensors;

  /**
   * Creates the block.
   *
   * @param weights norm, query, key, value and output
   */
  Attention(DecoderRuntime runtime, int layer, List<Weight> weights) {
    super(runtime);
    this.layer = layer;
    this.weights = List.copyOf(weights);
    weights.forEach(this::register);
    tensors = new TensorList(weights.stream().map(Weight::tensor).toList());
  }

  @Override
  DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    KeyValueCache cache = pass.cache();
    if (cache != null) {
      pass.kernel()
          .reserve(
              cache.layer(layer),
              weights.get(1).tensor(),
              runtime().attention(),
              pass.context().sequences(),
              pass.context().tokens());
    }
    return pass.kernel()
        .attend(
            pass.manager(),
            hidden,
            pass.weights(tensors, weights),
            runtime().attention(),
            pass.context(),
            runtime().config().epsilon(),
            cache == null ? null : cache.layer(layer));
  }
}
