package io.winnow.examples.bench.measure;

import io.winnow.examples.files.ProcFile;
import java.nio.file.Path;
import java.util.OptionalLong;

/**
 * The peak of the process's anonymous resident memory, looked at twenty times a second, where Linux
 * tells it: what mapped files take is not in it.
 */
public final class AnonymousMemory implements AutoCloseable {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final long PAUSE_MILLIS = 50;

  private final Thread watcher;
  private volatile long peak;

  private AnonymousMemory() {
    watcher = new Thread(this::watch, "anonymous memory");
    watcher.setDaemon(true);
  }

  /** Begins to watch, until it is closed. */
  public static AnonymousMemory start() {
    AnonymousMemory memory = new AnonymousMemory();
    memory.watcher.start();
    return memory;
  }

  private void watch() {
    try {
      while (true) {
        peak = Math.max(peak, ProcFile.bytes(STATUS, "RssAnon:").orElse(0));
        Thread.sleep(PAUSE_MILLIS);
      }
    } catch (InterruptedException e) {
      // Closed.
    }
  }

  /** Returns the peak so far; empty where it cannot be read. */
  public OptionalLong peak() {
    return peak == 0 ? OptionalLong.empty() : OptionalLong.of(peak);
  }

  @Override
  public void close() {
    watcher.interrupt();
  }
}
