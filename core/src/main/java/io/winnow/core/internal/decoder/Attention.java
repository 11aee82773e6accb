package io.winnow.core.internal.decoder;

import io.winnow.core.internal.form.AttentionConfig;
import io.winnow.core.internal.form.AttentionPart;
import io.winnow.core.internal.kernel.AttentionWeights;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.kernel.LayerWeights;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.EnumMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Attention, behind its norm and added to the residual. */
final class Attention extends DecoderBlock {
  private final int layer;
  private final AttentionConfig form;
  private final Map<AttentionPart, Weight> weights;
  private final AttentionWeights tensors;

  /**
   * Creates the block.
   *
   * @param projections the matrix of which query, key and value are rows, if there is one
   */
  Attention(
      DecoderRuntime runtime,
      int layer,
      AttentionConfig form,
      Map<AttentionPart, Weight> weights,
      @Nullable DeviceTensor projections) {
    super(runtime);
    this.layer = layer;
    this.form = form;
    this.weights = new EnumMap<>(weights);
    this.weights.values().forEach(this::register);
    Map<AttentionPart, DeviceTensor> parts = new EnumMap<>(AttentionPart.class);
    weights.forEach((part, weight) -> parts.put(part, weight.tensor()));
    tensors = new AttentionWeights(form, parts, projections);
  }

  boolean isPlain() {
    return tensors.isPlain();
  }

  @Override
  DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    KeyValueCache.Layer cache = reserve(pass);
    return pass.kernel().attend(pass.manager(), hidden, weights(pass), pass.context(), cache);
  }

  /** Computes attention of each sequence's last {@code count} tokens. */
  DeviceTensor applyToLast(ForwardPass pass, DeviceTensor hidden, int count) {
    KeyValueCache.Layer cache = reserve(pass);
    return pass.kernel()
        .attendLast(pass.manager(), hidden, weights(pass), pass.context(), cache, count);
  }

  /** Computes attention, and what a layer's experts need to begin. */
  RoutedResidual applyAndRoute(
      ForwardPass pass, Residual residual, DeviceTensor moeNorm, DeviceTensor gate) {
    KeyValueCache.Layer cache = reserve(pass);
    return pass.kernel()
        .attendAndRoute(
            pass.manager(),
            residual,
            new LayerWeights(weights(pass), moeNorm, gate),
            pass.context(),
            cache);
  }

  private AttentionWeights weights(ForwardPass pass) {
    if (pass.parameters() == null) {
      return tensors;
    }
    Map<AttentionPart, DeviceTensor> trained = new EnumMap<>(AttentionPart.class);
    weights.forEach((part, weight) -> trained.put(part, pass.weight(weight)));
    return new AttentionWeights(form, trained, null);
  }

  private KeyValueCache.@Nullable Layer reserve(ForwardPass pass) {
    if (pass.cache() == null) {
      return null;
    }
    KeyValueCache.Layer cache = pass.cache().layer(layer);
    pass.kernel()
        .reserve(cache, tensors.like(), form, pass.context().sequences(), pass.context().tokens());
    return cache;
  }
}
