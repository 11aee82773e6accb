package io.winnow.core.internal.decoder;

import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.Arrays;
import java.util.List;

/** A layer without experts: to the kernel, a single one that every token takes. */
public final class DenseFeedForward extends FeedForward {
  private final BlockNorms norms;
  private final DeviceTensor gate;
  private final ExpertWeights weights;

  public DenseFeedForward(DecoderRuntime runtime, BlockNorms norms, SparseMoe.Expert only) {
    super(runtime);
    this.norms = norms;
    gate =
        DeviceTensor.owning(runtime.manager().zeros(new Shape(0, runtime.config().hiddenSize())));
    weights = SparseMoe.inferenceWeights(List.of(only));
    norms.weights().forEach(this::register);
    only.weights().forEach(this::register);
  }

  @Override
  boolean isPlain() {
    return weights.isPlain() && norms.junction().isPlain();
  }

  @Override
  Junction junction(ForwardPass pass) {
    return norms.junction(pass);
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
