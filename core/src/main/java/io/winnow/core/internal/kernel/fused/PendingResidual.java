package io.winnow.core.internal.kernel.fused;

import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * The residual of a single token, to which the outputs of its experts are still to be added: they
 * are computed in one call with what follows.
 */
final class PendingResidual extends Residual {
  private final RoutedState routed;
  private final Mixture mixture;

  /**
   * Creates it.
   *
   * @param routed taken over
   */
  PendingResidual(RoutedState routed, Mixture mixture) {
    this.routed = routed;
    this.mixture = mixture;
  }

  /**
   * The experts of a single token.
   *
   * @param junction by which they join the residual
   * @param inputs factors of the experts' inputs as a TorchScript list, empty for 1; not closed
   *     with this, like the junction
   */
  record Mixture(
      IValue junction, long[] experts, double[] factors, IValue inputs, ExpertWeights weights) {}

  /**
   * Returns the arguments of a method that begins with a residual and the experts pending on it.
   */
  Object[] followedBy(Object... rest) {
    List<Object> arguments = new ArrayList<>();
    Collections.addAll(
        arguments,
        routed.state(),
        mixture.junction(),
        mixture.experts(),
        mixture.factors(),
        mixture.inputs(),
        mixture.weights().gate().transposed(),
        mixture.weights().up().transposed(),
        mixture.weights().down().transposed());
    Collections.addAll(arguments, rest);
    return arguments.toArray();
  }

  @Override
  public DeviceTensor hidden() {
    throw new IllegalStateException("Experts' outputs are still to be added to the residual");
  }

  @Override
  public void close() {
    routed.close();
  }
}
