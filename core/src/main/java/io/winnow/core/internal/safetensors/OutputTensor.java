package io.winnow.core.internal.safetensors;

import com.google.common.collect.ImmutableList;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.Segment.BufferSegment;
import io.winnow.core.internal.safetensors.Segment.FileSegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/**
 * A tensor to be written: its header, and the segments its bytes come from. Immutable.
 *
 * @param name the tensor's name in the new file
 * @param type the type of its elements
 * @param shape its dimensions, outermost first; empty for a single value
 * @param segments its bytes, in order
 */
public record OutputTensor(String name, TensorType type, List<Long> shape, List<Segment> segments) {

  /**
   * Creates the tensor.
   *
   * @throws InvalidInputException if the name is empty or reserved, or if the segments do not have
   *     exactly the bytes that type and shape require
   */
  public OutputTensor {
    shape = List.copyOf(shape);
    segments = List.copyOf(segments);
    if (name.isEmpty() || name.equals(SafetensorsFile.METADATA)) {
      throw new InvalidInputException(
          "A tensor cannot have the name '" + name + "'; choose another");
    }
    long expected;
    try {
      expected = type.bytesOf(shape);
    } catch (ArithmeticException e) {
      throw new InvalidInputException(
          "The tensor '" + name + "' cannot have the shape " + shape + ": " + e.getMessage(), e);
    }
    long actual = 0;
    for (Segment segment : segments) {
      actual = Math.addExact(actual, segment.length());
    }
    if (actual != expected) {
      throw new InvalidInputException(
          "The tensor '"
              + name
              + "' of type "
              + type
              + " and shape "
              + shape
              + " takes "
              + expected
              + " bytes, but its segments have "
              + actual);
    }
  }

  /** A copy of an existing tensor under its own name. */
  public static OutputTensor copyOf(TensorInfo source) {
    return copyOf(source, source.name());
  }

  /** A copy of an existing tensor under a new name. */
  public static OutputTensor copyOf(TensorInfo source, String newName) {
    return new OutputTensor(
        newName,
        source.type(),
        source.shape(),
        List.of(new FileSegment(source.file(), source.offset(), source.length())));
  }

  /**
   * Some rows of an existing tensor: the slices at these indices of the leading dimension, in the
   * given order. Rows that follow each other become one segment.
   *
   * @throws InvalidInputException if the tensor has no dimension, if no row is given or one is out
   *     of range, or if a row is no whole number of bytes
   */
  public static OutputTensor rows(TensorInfo source, String newName, int... rows) {
    if (source.shape().isEmpty()) {
      throw new InvalidInputException(
          "The tensor '" + source.name() + "' of " + source.file() + " is a single value: no rows");
    }
    if (rows.length == 0) {
      throw new InvalidInputException(
          "No row of the tensor '" + source.name() + "' was asked for; name at least one");
    }
    long available = source.shape().get(0);
    for (int row : rows) {
      if (row < 0 || row >= available) {
        throw new InvalidInputException(
            "The tensor '"
                + source.name()
                + "' of "
                + source.file()
                + " has the rows 0 to "
                + (available - 1)
                + ", but "
                + row
                + " was asked for");
      }
    }
    List<Long> rowShape = source.shape().subList(1, source.shape().size());
    long rowLength;
    try {
      rowLength = source.type().bytesOf(rowShape);
    } catch (ArithmeticException e) {
      throw new InvalidInputException(
          "The tensor '" + source.name() + "' cannot be cut into rows: " + e.getMessage(), e);
    }
    ImmutableList.Builder<Segment> segments = ImmutableList.builder();
    int start = 0;
    for (int i = 1; i <= rows.length; i++) {
      if (i == rows.length || rows[i] != rows[i - 1] + 1) {
        segments.add(
            new FileSegment(
                source.file(), source.offset() + rows[start] * rowLength, (i - start) * rowLength));
        start = i;
      }
    }
    ImmutableList<Long> shape =
        ImmutableList.<Long>builder().add((long) rows.length).addAll(rowShape).build();
    return new OutputTensor(newName, source.type(), shape, segments.build());
  }

  /**
   * A tensor of type {@link TensorType#I64}.
   *
   * @throws InvalidInputException if the number of values is not that of the shape
   */
  public static OutputTensor ofLongs(String name, List<Long> shape, long[] values) {
    ByteBuffer data = allocate(name, values.length, Long.BYTES);
    data.asLongBuffer().put(values);
    return new OutputTensor(name, TensorType.I64, shape, List.of(new BufferSegment(data)));
  }

  /**
   * A tensor of type {@link TensorType#F32}.
   *
   * @throws InvalidInputException if the number of values is not that of the shape
   */
  public static OutputTensor ofFloats(String name, List<Long> shape, float[] values) {
    ByteBuffer data = allocate(name, values.length, Float.BYTES);
    data.asFloatBuffer().put(values);
    return new OutputTensor(name, TensorType.F32, shape, List.of(new BufferSegment(data)));
  }

  /** The number of bytes. */
  public long length() {
    return type.bytesOf(shape);
  }

  private static ByteBuffer allocate(String name, int count, int bytes) {
    if (count > Integer.MAX_VALUE / bytes) {
      throw new InvalidInputException(
          "The tensor '"
              + name
              + "' has "
              + count
              + " values of "
              + bytes
              + " bytes, more than one buffer holds; give its bytes as several segments");
    }
    return ByteBuffer.allocate(count * bytes).order(ByteOrder.LITTLE_ENDIAN);
  }
}
