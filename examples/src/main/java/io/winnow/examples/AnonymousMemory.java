package io.winnow.examples;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;

/**
 * The peak of the process's anonymous resident memory, looked at twenty times a second, where Linux
 * tells it: what mapped files take is not in it.
 */
final class AnonymousMemory implements AutoCloseable {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final long PAUSE_MILLIS = 50;

  private final Thread watcher;
  private volatile long peak;

  private AnonymousMemory() {
    watcher = new Thread(this::watch, "anonymous memory");
    watcher.setDaemon(true);
  }

  /** Begins to watch, until it is closed. */
  static AnonymousMemory start() {
    AnonymousMemory memory = new AnonymousMemory();
    memory.watcher.start();
    return memory;
  }

  private void watch() {
    try {
      while (true) {
        peak = Math.max(peak, now());
        Thread.sleep(PAUSE_MILLIS);
      }
    } catch (InterruptedException | IOException e) {
      // Closed, or not on Linux.
    }
  }

  private static long now() throws IOException {
    return Files.readAllLines(STATUS).stream()
        .filter(line -> line.startsWith("RssAnon:"))
        .mapToLong(line -> 1024 * Long.parseLong(line.replaceAll("\\D", "")))
        .findFirst()
        .orElse(0);
  }

  /** Returns the peak so far; empty where it cannot be read. */
  OptionalLong peak() {
    return peak == 0 ? OptionalLong.empty() : OptionalLong.of(peak);
  }

  @Override
  public void close() {
    watcher.interrupt();
  }
}
