package io.winnow.core.internal.layout;

import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.routing.SoftmaxRouting;
import org.jspecify.annotations.Nullable;

/** Which checkpoints' weights can be trained. */
final class Trainability {
  private Trainability() {}

  /**
   * Returns why the weights cannot be trained, or null if they can: what is not plain softmax
   * routing to experts with tensors of their own has no gradient here.
   */
  static @Nullable String whyNot(CheckpointLayout layout) {
    DecoderConfig config = layout.config();
    if (!layout.quantization().isNone()) {
      return "Quantised weights ("
          + layout.quantization().method()
          + ") are not trained; convert the checkpoint to F32, F16 or BF16 for that";
    }
    boolean plain =
        layout.routing(config.sparseLayers().get(0), null) instanceof SoftmaxRouting
            && layout.isSingleExperts()
            && !layout.names().hasRouterBias()
            && config.sharedSize() == 0
            && config.sparseLayers().size() == config.layers()
            && !config.kernel().layerNorm()
            && !config.biasedHead();
    return plain
        ? null
        : "Models of type "
            + layout.family().modelType()
            + " are not trained here: that needs softmax routing, experts with tensors of their own,"
            + " and neither shared experts nor dense layers";
  }
}
