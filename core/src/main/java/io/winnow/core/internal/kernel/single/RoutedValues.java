package io.winnow.core.internal.kernel.single;

import ai.djl.ndarray.NDArray;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;

/** A routed residual of a single token as arrays, of which tensors are never made. */
final class RoutedValues extends RoutedResidual {
  private final float[] hidden;
  private final float[] input;
  private final float[] logits;

  /** Creates it; the arrays are taken over. */
  RoutedValues(Junction junction, float[] hidden, float[] input, float[] logits) {
    super(junction);
    this.hidden = hidden;
    this.input = input;
    this.logits = logits;
  }

  float[] hiddenValues() {
    return hidden;
  }

  float[] inputValues() {
    return input;
  }

  @Override
  public float[] logitValues() {
    return logits;
  }

  @Override
  public DeviceTensor hidden() {
    throw noTensor();
  }

  @Override
  public NDArray wideInput() {
    throw noTensor();
  }

  @Override
  public DeviceTensor input() {
    throw noTensor();
  }

  @Override
  public NDArray logits() {
    throw noTensor();
  }

  private static IllegalStateException noTensor() {
    return new IllegalStateException("A single token's step has no tensors to observe");
  }

  @Override
  public void close() {}
}
