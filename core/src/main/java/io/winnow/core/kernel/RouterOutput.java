package io.winnow.core.kernel;

import ai.djl.ndarray.NDArray;

/**
 * What comes before a MoE layer's experts. Not part of the API.
 *
 * @param wideInput the layer's normalised input {@code [tokens, hiddenSize]} in float32
 * @param input the same in the experts' type; in float32 the same array
 * @param logits router logits {@code [tokens, experts]} in float32
 */
public record RouterOutput(NDArray wideInput, DeviceTensor input, NDArray logits)
    implements AutoCloseable {
  @Override
  public void close() {
    wideInput.close();
    input.close();
    logits.close();
  }
}
