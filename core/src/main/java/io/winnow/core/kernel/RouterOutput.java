package io.winnow.core.kernel;

import ai.djl.ndarray.NDArray;

/**
 * A MoE layer's normalised input {@code [tokens, hiddenSize]} and its router logits {@code [tokens,
 * experts]} in float32. Not part of the API.
 */
public record RouterOutput(DeviceTensor input, NDArray logits) implements AutoCloseable {
  @Override
  public void close() {
    input.close();
    logits.close();
  }
}
