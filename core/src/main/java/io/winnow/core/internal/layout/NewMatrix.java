package io.winnow.core.internal.layout;

import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;

/** Makes the bytes of experts' last matrices that are in no checkpoint yet. */
@FunctionalInterface
public interface NewMatrix {
  /**
   * Returns one's elements in the type of a checkpoint, little-endian.
   *
   * @param place of its expert among those that stay
   * @param byColumns whether columns follow each other, not rows
   */
  ByteBuffer bytes(int place, boolean byColumns, TensorType type);
}
