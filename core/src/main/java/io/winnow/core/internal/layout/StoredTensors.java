package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.safetensors.TensorInfo;

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

  /** Returns the bias of a matrix, {@code .bias} in place of {@code .weight}. */
  StoredWeight bias(String weight, long size) {
    return new StoredWeight.Plain(plain(biasOf(weight), size));
  }

  /** Returns the name of a weight's bias. */
  static String biasOf(String weight) {
    return weight.substring(0, weight.lastIndexOf('.')) + ".bias";
  }
}
