package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import io.winnow.core.internal.kernel.array.DeviceTensor;

/** A routed residual of single tensors, which it closes. */
final class RoutedTensors extends RoutedResidual {
  private final DeviceTensor hidden;
  private final NDArray wideInput;
  private final DeviceTensor input;
  private final NDArray logits;

  RoutedTensors(DeviceTensor hidden, NDArray wideInput, DeviceTensor input, NDArray logits) {
    this.hidden = hidden;
    this.wideInput = wideInput;
    this.input = input;
    this.logits = logits;
  }

  @Override
  public DeviceTensor hidden() {
    return hidden;
  }

  @Override
  public NDArray wideInput() {
    return wideInput;
  }

  @Override
  public DeviceTensor input() {
    return input;
  }

  @Override
  public NDArray logits() {
    return logits;
  }

  @Override
  public void close() {
    hidden.close();
    wideInput.close();
    input.close();
    logits.close();
  }
}
