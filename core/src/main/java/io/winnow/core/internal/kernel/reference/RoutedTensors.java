package io.winnow.core.internal.kernel.reference;

import ai.djl.ndarray.NDArray;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;

/** A routed residual of single tensors, which it closes. */
final class RoutedTensors extends RoutedResidual {
  private final DeviceTensor hidden;
  private final NDArray wideInput;
  private final DeviceTensor input;
  private final NDArray logits;

  RoutedTensors(
      Junction junction,
      DeviceTensor hidden,
      NDArray wideInput,
      DeviceTensor input,
      NDArray logits) {
    super(junction);
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
