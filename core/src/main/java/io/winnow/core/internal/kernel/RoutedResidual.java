package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import io.winnow.core.internal.kernel.array.DeviceTensor;

/**
 * What a layer computes before its experts: the residual with attention added, the layer's
 * normalised input, and the router's logits. Closing it closes them. Not part of the API.
 */
public abstract class RoutedResidual implements AutoCloseable {
  RoutedResidual() {}

  /** Returns the residual {@code [tokens, hiddenSize]} in float32. */
  public abstract DeviceTensor hidden();

  /** Returns the experts' normalised input {@code [tokens, hiddenSize]} in float32. */
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
