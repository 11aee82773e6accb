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
   * after the first fifth did. What grew is run as often again: an allocator's pool grows once, a
   * leak does so every time.
   *
   * @param runs at least 30
   * @param slack bytes more that are no leak
   */
  public static void assertFlat(String what, int runs, long slack, Callable<?> run)
      throws Exception {
    Course course = Course.of(runs, run);
    if (course.late() >= course.before() + slack) {
      course = Course.of(runs, run);
    }
    assertThat(course.late())
        .as(
            "%s, twice: resident %d MB after a fifth of %d runs, %d MB at their end; every tenth:%s",
            what, course.before() >> 20, runs, course.late() >> 20, course.everyTenth())
        .isLessThan(course.before() + slack);
  }

  private record Course(long before, long late, String everyTenth) {
    static Course of(int runs, Callable<?> run) throws Exception {
      int window = Math.min(20, runs / 5);
      int early = runs / 5;
      long[] resident = new long[runs];
      StringBuilder everyTenth = new StringBuilder();
      for (int i = 0; i < runs; i++) {
        run.call();
        boolean counts = i >= runs - window || (i >= early && i < early + window);
        resident[i] = counts ? bytes() : bytes("VmRSS");
        if (i % 10 == 9) {
          everyTenth.append(' ').append(resident[i] >> 20);
        }
      }
      return new Course(
          median(Arrays.copyOfRange(resident, early, early + window)),
          median(Arrays.copyOfRange(resident, runs - window, runs)),
          everyTenth.toString());
    }
  }

  private static long median(long[] values) {
    Arrays.sort(values);
    return values[values.length / 2];
  }
}
