package io.winnow.core;

import com.google.common.util.concurrent.Uninterruptibles;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Frees every array that nobody holds, and takes its place with other bytes, again and again while
 * something runs.
 */
public final class GarbageCollection implements AutoCloseable {
  private final AtomicBoolean done = new AtomicBoolean();
  private final Thread collector;

  private GarbageCollection(int[] sizes, byte fill, Duration rest) {
    collector =
        new Thread(
            () -> {
              while (!done.get()) {
                System.gc();
                for (int size : sizes) {
                  ByteBuffer buffer = ByteBuffer.allocateDirect(size);
                  while (buffer.hasRemaining()) {
                    buffer.put(fill);
                  }
                }
                Uninterruptibles.sleepUninterruptibly(rest);
              }
            });
    collector.start();
  }

  /**
   * Starts.
   *
   * @param sizes of the buffers that are filled each time, in bytes
   * @param fill what they are filled with; 0x7f and -1 make large floats and none
   * @param rest how long to wait before the next time
   */
  public static GarbageCollection start(int[] sizes, byte fill, Duration rest) {
    return new GarbageCollection(sizes, fill, rest);
  }

  @Override
  public void close() {
    done.set(true);
    Uninterruptibles.joinUninterruptibly(collector);
  }
}
