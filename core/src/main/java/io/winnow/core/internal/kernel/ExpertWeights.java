package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * The weights of a layer's experts, as the kernel takes them: {@code gate} and {@code up} {@code
 * [intermediateSize, hiddenSize]}, {@code down} {@code [hiddenSize, intermediateSize]}.
 *
 * <p>Where {@code up} is a vector, the expert is one of gpt-oss: rows of gate and up alternate in
 * {@code gate}, {@code [2 intermediateSize, hiddenSize]}, and {@code up} holds the biases of that,
 * then those of {@code down}, in float32.
 *
 * <p>Where {@code up} is {@code [1, 1, 2 intermediateSize + hiddenSize]}, the expert has biases:
 * {@code gate} is rows of gate, then rows of up, and {@code up} holds the biases of those, then
 * those of {@code down}, in float32. Only dense and shared ones are like that.
 *
 * <p>Closing it closes the lists, not the weights.
 */
public record ExpertWeights(TensorList gate, TensorList up, TensorList down)
    implements AutoCloseable {
  /** Returns whether the experts are three matrices each, without biases. */
  public boolean isPlain() {
    return IntStream.range(0, up.size()).allMatch(i -> up.get(i).shape().dimension() == 2);
  }

  /**
   * Returns what is added behind an expert's last matrix, if there is something; it belongs to
   * {@code manager}.
   */
  public Optional<NDArray> downBias(NDManager manager, int expert) {
    if (up.get(expert).shape().dimension() == 2) {
      return Optional.empty();
    }
    try (NDArray all = up.get(expert).array().flatten()) {
      NDArray bias = all.get(gate.get(expert).shape().get(0) + ":");
      bias.attach(manager);
      return Optional.of(bias);
    }
  }

  @Override
  public void close() {
    gate.close();
    up.close();
    down.close();
  }
}
