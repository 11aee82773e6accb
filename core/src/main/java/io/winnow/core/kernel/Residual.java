package io.winnow.core.kernel;

import org.jspecify.annotations.Nullable;

/**
 * The residual {@code [sequences * tokens, hiddenSize]} in float32 between two layers, and possibly
 * the experts' outputs that are still to be added to it: the kernel then computes them in one call
 * with what follows. Closing it closes what it holds. Not part of the API.
 */
public final class Residual implements AutoCloseable {
  private final DeviceTensor hidden;
  private final @Nullable Mixture pending;

  /** Creates a residual to which nothing is to be added; takes the tensor over. */
  public Residual(DeviceTensor hidden) {
    this(hidden, null);
  }

  Residual(DeviceTensor hidden, @Nullable Mixture pending) {
    this.hidden = hidden;
    this.pending = pending;
  }

  /** Returns the residual without what is still to be added. */
  DeviceTensor hidden() {
    return hidden;
  }

  @Nullable Mixture pending() {
    return pending;
  }

  @Override
  public void close() {
    hidden.close();
    if (pending != null) {
      pending.router().close();
    }
  }

  /**
   * The experts of a single token.
   *
   * @param router whose input the experts take
   */
  record Mixture(RouterOutput router, long[] experts, double[] factors, ExpertWeights weights) {}
}
