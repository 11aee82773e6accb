package io.winnow.core;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.Callable;

/** What this process has in memory, by Linux; for tests that it stays so. */
public final class ResidentMemory {
  private ResidentMemory() {}

  /**
   * Returns a field of the process's status in bytes, such as {@code VmRSS}; 0 outside of Linux.
   */
  public static long bytes(String field) throws IOException {
    Path status = Path.of("/proc/self/status");
    if (!Files.isReadable(status)) {
      return 0;
    }
    for (String line : Files.readAllLines(status)) {
      if (line.startsWith(field + ":")) {
        return Long.parseLong(line.replaceAll("\\D", "")) << 10;
      }
    }
    throw new IOException("No " + field + " in /proc/self/status");
  }

  /**
   * Returns the resident bytes, without what the Java heap would give back.
   *
   * <p>The heap grows by other amounts each time, and is not what is measured.
   */
  public static long bytes() throws IOException {
    System.gc();
    return bytes("VmRSS");
  }

  /**
   * Runs something many times, and checks that the last runs leave no more in memory than those
   * after the first fifth did.
   *
   * @param runs at least 30
   * @param slack bytes more that are no leak
   */
  public static void assertFlat(String what, int runs, long slack, Callable<?> run)
      throws Exception {
    int window = Math.min(20, runs / 5);
    int early = runs / 5;
    long[] resident = new long[runs];
    StringBuilder course = new StringBuilder();
    for (int i = 0; i < runs; i++) {
      run.call();
      boolean counts = i >= runs - window || (i >= early && i < early + window);
      resident[i] = counts ? bytes() : bytes("VmRSS");
      if (i % 10 == 9) {
        course.append(' ').append(resident[i] >> 20);
      }
    }
    long before = median(Arrays.copyOfRange(resident, early, early + window));
    long late = median(Arrays.copyOfRange(resident, runs - window, runs));
    assertThat(late)
        .as(
            "%s: resident %d MB in runs %d to %d, %d MB in the last %d; every tenth:%s",
            what, before >> 20, early, early + window, late >> 20, window, course)
        .isLessThan(before + slack);
  }

  private static long median(long[] values) {
    Arrays.sort(values);
    return values[values.length / 2];
  }
}
