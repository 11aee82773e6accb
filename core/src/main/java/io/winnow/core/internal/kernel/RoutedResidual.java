package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import io.winnow.core.internal.kernel.array.DeviceTensor;

/**
 * What a layer computes before its experts: the residual with the sequence mixer added, the
 * experts' input, and the router's logits. Closing it closes them.
 */
public abstract class RoutedResidual implements AutoCloseable {
  private final Junction junction;

  /** Creates it with the junction by which the experts join the residual. */
  protected RoutedResidual(Junction junction) {
    this.junction = junction;
  }

  /** Returns how the experts join the residual. */
  public final Junction junction() {
    return junction;
  }

  /** Returns the residual {@code [tokens, hiddenSize]} in float32. */
  public abstract DeviceTensor hidden();

  /** Returns the experts' input {@code [tokens, hiddenSize]} in float32. */
  public abstract NDArray wideInput();

  /** Returns the same in the experts' type; in float32 the same array. */
  public abstract DeviceTensor input();

  /** Returns router logits {@code [tokens, experts]} in float32. */
  public abstract NDArray logits();

  /** Returns the router logits as a row-major array that nobody else keeps. */
  public float[] logitValues() {
    return logits().toFloatArray();
  }

  @Override
  public abstract void close();
}
