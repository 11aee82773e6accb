package io.winnow.examples.bench.measure;

import io.winnow.examples.files.ProcFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;

/** The peak of the process's resident memory, where Linux tells it. */
public final class PeakMemory {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final Path CLEAR = Path.of("/proc/self/clear_refs");

  private final OptionalLong before;

  private PeakMemory(OptionalLong before) {
    this.before = before;
  }

  /** Begins to watch the peak. */
  public static PeakMemory start() {
    try {
      Files.writeString(CLEAR, "5");
      return new PeakMemory(ProcFile.bytes(STATUS, "VmRSS:"));
    } catch (IOException e) {
      return new PeakMemory(OptionalLong.empty());
    }
  }

  /** Returns by how many bytes resident memory has risen at most since {@link #start}. */
  public OptionalLong growth() {
    OptionalLong peak = ProcFile.bytes(STATUS, "VmHWM:");
    return before.isPresent() && peak.isPresent()
        ? OptionalLong.of(Math.max(0, peak.getAsLong() - before.getAsLong()))
        : OptionalLong.empty();
  }
}
