package io.winnow.core.internal.kernel;

import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The residual {@code [sequences * tokens, hiddenSize]} in float32 between two layers, or that of a
 * single token and the experts whose outputs are still to be added to it: the kernel then computes
 * them in one call with what follows; or that of a single token as an array. Closing it closes what
 * it holds. Not part of the API.
 */
public final class Residual implements AutoCloseable {
  private final @Nullable DeviceTensor hidden;
  private final @Nullable Mixture pending;
  private final float @Nullable [] values;

  private Residual(
      @Nullable DeviceTensor hidden, @Nullable Mixture pending, float @Nullable [] values) {
    this.hidden = hidden;
    this.pending = pending;
    this.values = values;
  }

  /** Creates a residual to which nothing is to be added; takes the tensor over. */
  public Residual(DeviceTensor hidden) {
    this(hidden, null, null);
  }

  Residual(Mixture pending) {
    this(null, pending, null);
  }

  /** Creates that of a single token {@code [hiddenSize]}; takes the array over. */
  Residual(float[] values) {
    this(null, null, values);
  }

  /** Returns the residual as a tensor, which it must be, to which nothing is pending. */
  DeviceTensor hidden() {
    if (hidden == null) {
      throw new IllegalStateException(
          "The residual is an array, or experts' outputs are still to be added to it");
    }
    return hidden;
  }

  /** Returns the residual as an array, which it must be. */
  float[] values() {
    if (values == null) {
      throw new IllegalStateException("The residual is a tensor");
    }
    return values;
  }

  boolean isPending() {
    return pending != null;
  }

  /** Returns the arguments of a method that begin with this residual. */
  Object[] followedBy(Object... rest) {
    List<Object> arguments = new ArrayList<>();
    if (pending == null) {
      arguments.add(hidden());
    } else {
      Collections.addAll(
          arguments,
          pending.routed().state(),
          pending.experts(),
          pending.factors(),
          pending.inputs(),
          pending.weights().gate().transposed(),
          pending.weights().up().transposed(),
          pending.weights().down().transposed());
    }
    Collections.addAll(arguments, rest);
    return arguments.toArray();
  }

  @Override
  public void close() {
    if (hidden != null) {
      hidden.close();
    }
    if (pending != null) {
      pending.routed().close();
    }
  }

  /**
   * The experts of a single token.
   *
   * @param inputs factors of the experts' inputs as a TorchScript list, empty for 1; not closed
   *     with this
   */
  record Mixture(
      RoutedState routed, long[] experts, double[] factors, IValue inputs, ExpertWeights weights) {}
}
