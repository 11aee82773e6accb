package io.winnow.examples;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;

/** The process's resident memory, where Linux tells it. */
final class ResidentMemory {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final Path CLEAR = Path.of("/proc/self/clear_refs");

  private final OptionalLong before;

  private ResidentMemory(OptionalLong before) {
    this.before = before;
  }

  /** Begins to watch the peak. */
  static ResidentMemory startPeak() {
    try {
      Files.writeString(CLEAR, "5");
      return new ResidentMemory(bytes("VmRSS:"));
    } catch (IOException e) {
      return new ResidentMemory(OptionalLong.empty());
    }
  }

  /** Returns how far resident memory has risen at most since {@link #startPeak}. */
  OptionalLong peakGrowth() {
    OptionalLong peak = bytes("VmHWM:");
    return before.isPresent() && peak.isPresent()
        ? OptionalLong.of(Math.max(0, peak.getAsLong() - before.getAsLong()))
        : OptionalLong.empty();
  }

  /** Returns a field of the process's status; empty where Linux does not tell it. */
  static OptionalLong bytes(String field) {
    try {
      return Files.readAllLines(STATUS).stream()
          .filter(line -> line.startsWith(field))
          .mapToLong(line -> 1024 * Long.parseLong(line.replaceAll("\\D", "")))
          .findFirst();
    } catch (IOException e) {
      return OptionalLong.empty();
    }
  }
}
