package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.kernel.KeyValueCache;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** What token ids must be before a decoder takes them. */
final class TokenIds {
  private TokenIds() {}

  /** Checks that ids are {@code [sequences, length]}, at least 1 by 1. */
  static void checkShape(NDArray ids) {
    Shape shape = ids.getShape();
    if (shape.dimension() != 2 || shape.get(0) < 1 || shape.get(1) < 1) {
      throw new InvalidInputException(
          "Token ids must be [sequences, length], at least 1 by 1, but are "
              + shape
              + "; a translator that returns single sequences needs a batchifier");
    }
  }

  /**
   * Returns ids as int64 on the device of {@code scratch}. An id outside the embedding kills a CUDA
   * context, so every id is looked at first.
   *
   * @param ids {@code [sequences, length]}
   * @param cache holds the tokens before them; null for none
   * @param maxPositions the longest sequence, the cache's tokens included
   */
  static NDArray checked(
      NDManager scratch,
      NDArray ids,
      @Nullable KeyValueCache cache,
      int maxPositions,
      int vocabularySize) {
    DataType type = ids.getDataType();
    if (type != DataType.INT64 && type != DataType.INT32) {
      throw new InvalidInputException("Token ids must be int64 or int32, but are " + type);
    }
    Shape shape = ids.getShape();
    int past = cache == null ? 0 : cache.length();
    if (past + shape.get(1) > maxPositions) {
      throw new InvalidInputException(
          String.format(
              "A sequence of %d tokens is longer than the model's %d positions; cut it",
              past + shape.get(1), maxPositions));
    }
    if (cache != null && cache.padding().length != shape.get(0)) {
      throw new InvalidInputException(
          String.format(
              "%d sequences do not fit a cache made for %d", shape.get(0), cache.padding().length));
    }
    long[] values =
        type == DataType.INT64
            ? ids.toLongArray()
            : Arrays.stream(ids.toIntArray()).asLongStream().toArray();
    for (int i = 0; i < values.length; i++) {
      if (values[i] < 0 || values[i] >= vocabularySize) {
        throw new InvalidInputException(
            String.format(
                "Token id %d at position %d of sequence %d is outside the vocabulary of %d; was the"
                    + " text tokenised for another model?",
                values[i], i % shape.get(1), i / shape.get(1), vocabularySize));
      }
    }
    boolean usable = type == DataType.INT64 && ids.getDevice().equals(scratch.getDevice());
    return usable ? ids : scratch.create(values, shape);
  }
}
