package io.winnow.core.internal.safetensors;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.Map;
import java.util.function.LongConsumer;

/** The files that are read during one operation: each is opened once. Not thread-safe. */
public final class SourceFiles implements AutoCloseable {
  private static final long CHUNK = 64L << 20;

  private final Map<Path, FileChannel> channels = new HashMap<>();

  /**
   * Copies bytes to where a channel stands, without passing through the heap.
   *
   * @param copy the channel's file, for messages
   */
  public void transfer(
      Path file, long offset, long length, Path copy, FileChannel target, LongConsumer progress) {
    long done = 0;
    try {
      FileChannel source = channel(file);
      while (done < length) {
        FileErrors.throwIfInterrupted("copy", file);
        long copied = source.transferTo(offset + done, Math.min(CHUNK, length - done), target);
        if (copied <= 0) {
          throw new InvalidInputException(
              file
                  + " ends at "
                  + source.size()
                  + ", but the bytes up to "
                  + (offset + length)
                  + " are needed; it was changed after it was opened: start again");
        }
        done += copied;
        progress.accept(copied);
      }
    } catch (IOException e) {
      throw FileErrors.translate("copy " + file + " to", copy, e);
    }
  }

  /** A few bytes. */
  public ByteBuffer read(Path file, long offset, int length) {
    try {
      return SafetensorsHeader.readAt(channel(file), offset, length);
    } catch (IOException e) {
      throw FileErrors.translate("read", file, e);
    }
  }

  /**
   * Reads bytes and forgets them, so that the system has them in memory.
   *
   * @param buffer what to read into
   */
  public void touch(Path file, long offset, long length, ByteBuffer buffer) {
    try {
      FileChannel channel = channel(file);
      long done = 0;
      while (done < length) {
        buffer.clear().limit((int) Math.min(buffer.capacity(), length - done));
        int read = channel.read(buffer, offset + done);
        if (read <= 0) {
          return;
        }
        done += read;
      }
    } catch (IOException e) {
      throw FileErrors.translate("read", file, e);
    }
  }

  private FileChannel channel(Path file) throws IOException {
    FileChannel channel = channels.get(file);
    if (channel == null) {
      channel = FileChannel.open(file, StandardOpenOption.READ);
      channels.put(file, channel);
    }
    return channel;
  }

  @Override
  public void close() {
    for (FileChannel channel : channels.values()) {
      try {
        channel.close();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
