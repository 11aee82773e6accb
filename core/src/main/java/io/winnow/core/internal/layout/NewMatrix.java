package io.winnow.core.internal.layout;

import ai.djl.ndarray.NDArray;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;

/** Makes the bytes of a matrix that is in no checkpoint yet. */
@FunctionalInterface
public interface NewMatrix {
  /**
   * Returns its elements in the type of a checkpoint, little-endian.
   *
   * @param byColumns whether columns follow each other, not rows
   */
  ByteBuffer bytes(NDArray matrix, boolean byColumns, TensorType type);
}
