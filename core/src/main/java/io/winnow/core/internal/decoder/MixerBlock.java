package io.winnow.core.internal.decoder;

import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.LayerState;
import io.winnow.core.internal.kernel.LayerWeights;
import io.winnow.core.internal.kernel.MixerWeights;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.EnumMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A sequence mixer, added to the residual. */
public final class MixerBlock extends DecoderBlock {
  private final int layer;
  private final SequenceMixer form;
  private final BlockNorms norms;
  private final Map<MixerPart, Weight> weights;
  private final MixerWeights tensors;

  /**
   * Creates the block.
   *
   * @param projections the matrix of which query, key and value are rows, if there is one
   */
  public MixerBlock(
      DecoderRuntime runtime,
      int layer,
      SequenceMixer form,
      BlockNorms norms,
      Map<MixerPart, Weight> weights,
      @Nullable DeviceTensor projections) {
    super(runtime);
    this.layer = layer;
    this.form = form;
    this.norms = norms;
    this.weights = new EnumMap<>(weights);
    norms.weights().forEach(this::register);
    this.weights.values().forEach(this::register);
    Map<MixerPart, DeviceTensor> parts = new EnumMap<>(MixerPart.class);
    weights.forEach((part, weight) -> parts.put(part, weight.tensor()));
    tensors = new MixerWeights(form, norms.junction(), parts, projections);
  }

  boolean isPlain() {
    return tensors.isPlain();
  }

  @Override
  DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    LayerState state = reserve(pass);
    return pass.kernel().attend(pass.manager(), hidden, weights(pass), pass.context(), state);
  }

  /** Computes the residual of each sequence's last {@code count} tokens. */
  DeviceTensor applyToLast(ForwardPass pass, DeviceTensor hidden, int count) {
    LayerState state = reserve(pass);
    return pass.kernel()
        .attendLast(pass.manager(), hidden, weights(pass), pass.context(), state, count);
  }

  /** Computes the residual, and what a layer's experts need to begin. */
  RoutedResidual applyAndRoute(
      ForwardPass pass, Residual residual, Junction junction, DeviceTensor gate) {
    LayerState state = reserve(pass);
    return pass.kernel()
        .attendAndRoute(
            pass.manager(),
            residual,
            new LayerWeights(weights(pass), junction, gate),
            pass.context(),
            state);
  }

  private MixerWeights weights(ForwardPass pass) {
    if (pass.parameters() == null) {
      return tensors;
    }
    Map<MixerPart, DeviceTensor> trained = new EnumMap<>(MixerPart.class);
    weights.forEach((part, weight) -> trained.put(part, pass.weight(weight)));
    return new MixerWeights(form, norms.junction(pass), trained, null);
  }

  private @Nullable LayerState reserve(ForwardPass pass) {
    if (pass.cache() == null) {
      return null;
    }
    LayerState state = pass.cache().layer(layer);
    pass.kernel()
        .reserve(
            state,
            tensors.like(),
            form.state(),
            pass.context().sequences(),
            pass.context().tokens());
    return state;
  }
}
