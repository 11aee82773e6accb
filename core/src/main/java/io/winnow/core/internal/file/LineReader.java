package io.winnow.core.internal.file;

import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Cuts a stream at line feeds, and holds no more than {@link JsonLines#MAX_LINE_BYTES} of it. */
final class LineReader implements AutoCloseable {
  private final InputStream in;
  private final byte[] chunk = new byte[1 << 16];
  private int next;
  private int end;
  private byte[] line = new byte[1 << 12];
  private boolean ended;
  private boolean tooLong;

  /** Creates a reader of a stream, which it closes. */
  LineReader(InputStream in) {
    this.in = in;
  }

  /** Returns a line without its line feed, or its beginning if it is too long; null at the end. */
  byte @Nullable [] next() throws IOException {
    int length = 0;
    while (!ended) {
      if (next == end) {
        end = Math.max(0, in.read(chunk));
        next = 0;
        if (end == 0) {
          ended = true;
          return length == 0 ? null : Arrays.copyOf(line, length);
        }
      }
      int stop = next;
      while (stop < end && chunk[stop] != '\n') {
        stop++;
      }
      int count = stop - next;
      if (count > JsonLines.MAX_LINE_BYTES - length) {
        tooLong = true;
        ended = true;
        return Arrays.copyOf(line, length);
      }
      if (length + count > line.length) {
        line = Arrays.copyOf(line, Math.max(length + count, 2 * line.length));
      }
      System.arraycopy(chunk, next, line, length, count);
      length += count;
      next = stop;
      if (stop < end) {
        next++;
        return Arrays.copyOf(line, length);
      }
    }
    return null;
  }

  /** Whether the last line was longer than what is read; nothing follows it. */
  boolean isTooLong() {
    return tooLong;
  }

  @Override
  public void close() throws IOException {
    in.close();
  }
}
