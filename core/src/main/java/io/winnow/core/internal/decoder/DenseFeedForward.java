package io.winnow.core.internal.decoder;

import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.Arrays;
import java.util.List;

/** A layer without experts: to the kernel, a single one that every token takes. */
final class DenseFeedForward extends FeedForward {
  private final Weight norm;
  private final DeviceTensor gate;
  private final ExpertWeights weights;

  DenseFeedForward(DecoderRuntime runtime, Weight norm, SparseMoe.Expert only) {
    super(runtime);
    this.norm = norm;
    gate =
        DeviceTensor.owning(runtime.manager().zeros(new Shape(0, runtime.config().hiddenSize())));
    weights = SparseMoe.inferenceWeights(List.of(only));
    register(norm);
    only.weights().forEach(this::register);
  }

  @Override
  boolean isPlain() {
    return weights.isPlain();
  }

  @Override
  DeviceTensor norm(ForwardPass pass) {
    return norm.tensor();
  }

  @Override
  DeviceTensor gate(ForwardPass pass) {
    return gate;
  }

  @Override
  Residual mix(ForwardPass pass, RoutedResidual routed) {
    float[] ones = new float[pass.context().sequences() * pass.context().tokens()];
    Arrays.fill(ones, 1);
    return pass.kernel().mixLater(pass.manager(), routed, new ExpertMix(null, weights, ones, null));
  }
}
