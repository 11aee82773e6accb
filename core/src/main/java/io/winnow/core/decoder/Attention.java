package io.winnow.core.decoder;

import io.winnow.core.kernel.DeviceTensor;
import io.winnow.core.kernel.KeyValueCache;
import io.winnow.core.kernel.LayerWeights;
import io.winnow.core.kernel.Residual;
import io.winnow.core.kernel.RoutedResidual;
import io.winnow.core.kernel.TensorList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Grouped-query attention with rotary embedding, behind its RMS norm and added to the residual. */
final class Attention extends DecoderBlock {
  private final int layer;
  private final List<Weight> weights;
  private final TensorList tensors;

  /**
   * Creates the block.
   *
   * @param weights norm, query, key, value and output
   * @param projections the matrix of which query, key and value are rows, if there is one
   */
  Attention(
      DecoderRuntime runtime, int layer, List<Weight> weights, @Nullable DeviceTensor projections) {
    super(runtime);
    this.layer = layer;
    this.weights = List.copyOf(weights);
    weights.forEach(this::register);
    tensors =
        projections == null || !runtime.isFused()
            ? new TensorList(weights.stream().map(Weight::tensor).toList())
            : TensorList.of(weights.get(0).tensor(), projections, weights.get(4).tensor());
  }

  @Override
  DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    KeyValueCache.Layer cache = reserve(pass);
    return pass.kernel()
        .attend(
            pass.manager(),
            hidden,
            pass.weights(tensors, weights),
            runtime().attention(),
            pass.context(),
            cache);
  }

  /** Computes attention, and what a layer's experts need to begin. */
  RoutedResidual applyAndRoute(
      ForwardPass pass, Residual residual, DeviceTensor moeNorm, DeviceTensor gate) {
    KeyValueCache.Layer cache = reserve(pass);
    return pass.kernel()
        .attendAndRoute(
            pass.manager(),
            residual,
            new LayerWeights(pass.weights(tensors, weights), moeNorm, gate),
            runtime().attention(),
            pass.context(),
            cache);
  }

  private KeyValueCache.@Nullable Layer reserve(ForwardPass pass) {
    if (pass.cache() == null) {
      return null;
    }
    KeyValueCache.Layer cache = pass.cache().layer(layer);
    pass.kernel()
        .reserve(
            cache,
            weights.get(1).tensor(),
            runtime().attention(),
            pass.context().sequences(),
            pass.context().tokens());
    return cache;
  }
}
