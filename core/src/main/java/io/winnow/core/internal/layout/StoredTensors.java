package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * The tensors of a checkpoint by its names, each checked against the shape that it must have: the
 * one place where a name becomes a tensor.
 */
record StoredTensors(TensorNames names, Checkpoint checkpoint, Quantization quantization) {
  /** Returns a tensor that is never quantised. */
  TensorInfo plain(String name, long... shape) {
    return Quantization.plain(checkpoint.tensor(name, shape));
  }

  /** Returns a matrix {@code [rows, columns]}, which may be quantised. */
  StoredWeight matrix(String name, long rows, long columns) {
    return quantization.matrix(checkpoint, name, rows, columns);
  }

  /** Returns gate and up {@code [size, hidden]} and down {@code [hidden, size]}. */
  StoredWeight[] feedForward(String gate, String up, String down, long size, long hidden) {
    return new StoredWeight[] {
      matrix(gate, size, hidden), matrix(up, size, hidden), matrix(down, hidden, size)
    };
  }

  /**
   * Returns {@code gate_proj}, {@code up_proj} and {@code down_proj}, and their biases.
   *
   * @param prefix precedes these names
   * @param biased whether there are biases
   */
  List<StoredWeight> feedForward(String prefix, long size, long hidden, boolean biased) {
    List<String> matrices =
        Stream.of("gate_proj", "up_proj", "down_proj").map(n -> prefix + n + ".weight").toList();
    List<StoredWeight> stored =
        new ArrayList<>(
            List.of(feedForward(matrices.get(0), matrices.get(1), matrices.get(2), size, hidden)));
    for (String name : biased ? matrices : List.<String>of()) {
      stored.add(bias(name, name.equals(matrices.get(2)) ? hidden : size));
    }
    return stored;
  }

  /** Returns the bias of a matrix, {@code .bias} in place of {@code .weight}. */
  StoredWeight bias(String weight, long size) {
    return new StoredWeight.Plain(plain(biasOf(weight), size));
  }

  /** Returns the name of a weight's bias. */
  static String biasOf(String weight) {
    return weight.substring(0, weight.lastIndexOf('.')) + ".bias";
  }
}
