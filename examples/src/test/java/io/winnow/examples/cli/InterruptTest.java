package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import io.winnow.core.Fixtures;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Ctrl-C, as a shell sends it, and an interrupt of the thread. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class InterruptTest {
  @TempDir private Path folder;

  /** Enough work for many seconds: it must end long before. */
  private List<String> longPrune() {
    return Cli.words(
            "prune --model MODEL --calib {} --sequences 200 --progressive --retain 4 --out {}"
                + " --report {}",
            Fixtures.TEXT.resolve("code.calib.txt"),
            folder.resolve("new"),
            folder.resolve("report.json"))
        .stream()
        .map(Object::toString)
        .toList();
  }

  @ParameterizedTest(name = "SIG{0}")
  @CsvSource({"INT, 130", "TERM, 143"})
  @DisabledOnOs(OS.WINDOWS)
  void aSignalEndsTheProcessWithItsCodeAndLeavesNothingBehind(String signal, int code)
      throws Exception {
    assumeFalse(signal.equals("INT") && ignoresInterrupts(), "a background job ignores SIGINT");
    List<String> command =
        new ArrayList<>(
            List.of(
                ProcessHandle.current().info().command().orElseThrow(),
                "-cp",
                System.getProperty("java.class.path"),
                Winnow.class.getName()));
    command.addAll(longPrune());
    Process process = new ProcessBuilder(command).start();
    try (BufferedReader err = process.errorReader(StandardCharsets.UTF_8)) {
      List<String> lines = new ArrayList<>();
      String line = err.readLine();
      while (line != null && !line.startsWith("Calibrating:")) {
        lines.add(line);
        line = err.readLine();
      }
      assertThat(line).as("standard error: %s", lines).isNotNull();
      kill(signal, process);
      err.lines().forEach(lines::add);
      assertThat(process.waitFor()).as("standard error: %s", lines).isEqualTo(code);
      assertThat(lines).contains("winnow: interrupted").noneMatch(text -> text.startsWith("\tat "));
      assertThat(new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
          .isEmpty();
    } finally {
      process.destroyForcibly();
    }
    assertThat(Cli.below(folder)).containsExactly("");
  }

  /**
   * Whether this process was told to, and so its children: a shell tells what ends with {@code &}.
   */
  private static boolean ignoresInterrupts() throws IOException {
    Path status = Path.of("/proc/self/status");
    return Files.exists(status)
        && Files.readAllLines(status).stream()
            .filter(line -> line.startsWith("SigIgn:"))
            .anyMatch(line -> (Long.parseUnsignedLong(line.substring(7).strip(), 16) & 2) != 0);
  }

  private static void kill(String signal, Process process)
      throws IOException, InterruptedException {
    int code =
        new ProcessBuilder("kill", "-" + signal, String.valueOf(process.pid()))
            .inheritIO()
            .start()
            .waitFor();
    assertThat(code).isZero();
  }

  @Test
  void anInterruptedThreadEndsACommandWithCode130() {
    Thread.currentThread().interrupt();
    Cli.Result result = Cli.run(longPrune());
    assertThat(Thread.interrupted()).as("the status is kept").isTrue();
    assertThat(result.code()).isEqualTo(130);
    assertThat(result.complaints()).containsExactly("winnow: interrupted");
    assertThat(Cli.below(folder)).containsExactly("");
  }
}
