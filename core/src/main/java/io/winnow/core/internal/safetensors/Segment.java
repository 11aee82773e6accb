package io.winnow.core.internal.safetensors;

import io.winnow.core.InvalidInputException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/** A run of bytes of a tensor that is to be written. Immutable. */
public sealed interface Segment {

  /** The number of bytes. */
  long length();

  /**
   * Bytes of an existing file, which are copied from file to file without passing through the heap.
   *
   * @param file the file that holds the bytes
   * @param offset where the first byte lies, counted from the start of the file
   * @param length the number of bytes
   */
  record FileSegment(Path file, long offset, long length) implements Segment {

    /**
     * Creates the segment; the file is not touched.
     *
     * @throws InvalidInputException if the offset or the length is negative
     */
    public FileSegment {
      if (offset < 0 || length < 0) {
        throw new InvalidInputException(
            "A segment of "
                + file
                + " has the offset "
                + offset
                + " and the length "
                + length
                + "; neither may be negative");
      }
    }
  }

  /**
   * A matrix of an existing file of which some elements become zero, while the others keep their
   * bits. It is read, masked and written some rows at a time.
   *
   * @param file the file that holds the matrix, row by row
   * @param offset where the first byte lies, counted from the start of the file
   * @param length the number of bytes, of whole rows
   * @param type F32, F16 or BF16
   * @param columns the elements of a row
   * @param mask is asked for every row once, in order
   */
  record MaskedSegment(
      Path file, long offset, long length, TensorType type, int columns, RowMask mask)
      implements Segment {

    /**
     * Creates the segment; the file is not touched.
     *
     * @throws InvalidInputException if the type is another one, or there are no whole rows
     */
    public MaskedSegment {
      if (type != TensorType.F32 && type != TensorType.F16 && type != TensorType.BF16) {
        throw new InvalidInputException(
            "A matrix of type " + type + " in " + file + " cannot be masked; convert it to BF16");
      }
      if (columns < 1 || length % ((long) columns * type.bytes()) != 0) {
        throw new InvalidInputException(
            "A matrix of "
                + length
                + " bytes in "
                + file
                + " does not consist of rows of "
                + columns
                + " elements of type "
                + type);
      }
    }

    int rowBytes() {
      return columns * type.bytes();
    }

    /**
     * Masks some rows in memory.
     *
     * @param first the number of the first
     */
    void apply(ByteBuffer rows, long first) {
      ByteBuffer data = rows.order(ByteOrder.LITTLE_ENDIAN);
      float[] values = new float[columns];
      boolean[] zero = new boolean[columns];
      for (int row = 0; row * rowBytes() < data.limit(); row++) {
        int start = row * rowBytes();
        for (int column = 0; column < columns; column++) {
          values[column] = value(data, start + column * type.bytes());
        }
        Arrays.fill(zero, false);
        mask.mask(first + row, values, zero);
        for (int column = 0; column < columns; column++) {
          if (zero[column]) {
            int place = start + column * type.bytes();
            if (type == TensorType.F32) {
              data.putInt(place, 0);
            } else {
              data.putShort(place, (short) 0);
            }
          }
        }
      }
    }

    private float value(ByteBuffer data, int place) {
      return switch (type) {
        case F32 -> data.getFloat(place);
        case F16 -> HalfFloat.toFloat(data.getShort(place));
        default -> Float.intBitsToFloat(data.getShort(place) << 16);
      };
    }
  }

  /**
   * Some columns of a matrix of an existing file, with the bits that they have there. It is read
   * and written some rows at a time.
   *
   * @param file the file that holds the matrix, row by row
   * @param offset where the first byte lies, counted from the start of the file
   * @param rows how many
   * @param columns the elements of a row
   * @param type of the elements
   * @param selected the columns, in their new order; {@link #ZERO} for one of zeros
   */
  record ColumnSegment(
      Path file, long offset, long rows, int columns, TensorType type, List<Integer> selected)
      implements Segment {
    /** In place of a column that is zero. */
    public static final int ZERO = -1;

    /**
     * Creates the segment; the file is not touched.
     *
     * @throws InvalidInputException if there is no such column
     */
    public ColumnSegment {
      selected = List.copyOf(selected);
      for (int column : selected) {
        if (column < ZERO || column >= columns) {
          throw new InvalidInputException(
              "A matrix in "
                  + file
                  + " has the columns 0 to "
                  + (columns - 1)
                  + ", but "
                  + column
                  + " was asked for");
        }
      }
    }

    @Override
    public long length() {
      return rows * selected.size() * type.bytes();
    }

    int rowBytes() {
      return columns * type.bytes();
    }

    /** Returns the selected columns of some whole rows. */
    ByteBuffer select(ByteBuffer data) {
      int bytes = type.bytes();
      int count = data.remaining() / rowBytes();
      byte[] from = new byte[data.remaining()];
      data.get(from);
      byte[] to = new byte[count * selected.size() * bytes];
      int place = 0;
      int[] starts = selected.stream().mapToInt(column -> column * bytes).toArray();
      for (int row = 0; row < count; row++) {
        for (int start : starts) {
          if (start >= 0) {
            System.arraycopy(from, row * rowBytes() + start, to, place, bytes);
          }
          place += bytes;
        }
      }
      return ByteBuffer.wrap(to);
    }
  }

  /**
   * Bytes that are where they belong already, and that nobody has to read again.
   *
   * @param tensor whose they are
   * @param length the number of bytes
   */
  record WrittenSegment(String tensor, long length) implements Segment {}

  /** Chooses the elements of a row that become zero. */
  @FunctionalInterface
  interface RowMask {
    /**
     * Sets {@code zero} at the elements to erase.
     *
     * @param row the row's number in its segment
     * @param values its elements
     * @param zero as many, all false
     */
    void mask(long row, float[] values, boolean[] zero);
  }

  /**
   * Bytes in memory: what lies between the buffer's position and limit when the segment is created.
   * The content is not copied, so it must stay as it is until it is written.
   *
   * @param data the bytes, in the file's order (little-endian)
   */
  record BufferSegment(ByteBuffer data) implements Segment {

    /** Creates a segment that does not follow later changes of the buffer's position. */
    public BufferSegment {
      data = data.slice().asReadOnlyBuffer();
    }

    /** The bytes, as a read-only view with a position of its own. */
    @Override
    public ByteBuffer data() {
      return data.duplicate();
    }

    @Override
    public long length() {
      return data.limit();
    }
  }
}
