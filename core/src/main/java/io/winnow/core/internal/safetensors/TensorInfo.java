package io.winnow.core.internal.safetensors;

import java.nio.file.Path;
import java.util.List;

/**
 * Where a tensor lies, and what it is: the header's knowledge, without the data. Immutable.
 *
 * @param name the tensor's name in the file
 * @param type the type of its elements
 * @param shape its dimensions, outermost first; empty for a single value
 * @param file the safetensors file that holds it
 * @param offset where its first byte lies, counted from the start of the file
 * @param length its number of bytes
 */
public record TensorInfo(
    String name, TensorType type, List<Long> shape, Path file, long offset, long length) {

  /** Creates the description, with its own copy of the shape. */
  public TensorInfo {
    shape = List.copyOf(shape);
  }

  /** The number of elements: the product of the dimensions, one for an empty shape. */
  public long elements() {
    return TensorType.elementsOf(shape);
  }
}
