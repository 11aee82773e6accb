package io.winnow.core.checkpoint;

import io.winnow.core.InvalidInputException;
import java.nio.ByteBuffer;
import java.nio.file.Path;

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
