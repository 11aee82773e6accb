package io.winnow.examples.console;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Progress on a terminal and in a log file. */
class ConsoleProgressTest {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final PrintStream out = new PrintStream(bytes, true, StandardCharsets.UTF_8);
  private long now = Long.MAX_VALUE - 5; // System.nanoTime may be about to overflow.

  private ConsoleProgress progress(boolean terminal) {
    return new ConsoleProgress(out, terminal, () -> now);
  }

  private void wait(int amount, TimeUnit unit) {
    now += unit.toNanos(amount);
  }

  private String text() {
    return bytes.toString(StandardCharsets.UTF_8).replace(System.lineSeparator(), "\n");
  }

  @Test
  void aLogFileGetsALineAtTheStartOneEveryHalfMinuteAndOneAtTheEnd() {
    ConsoleProgress progress = progress(false);
    progress.reset("Working", 6000);
    progress.start(0);
    for (int i = 0; i < 6000; i++) {
      wait(10, TimeUnit.MILLISECONDS);
      progress.increment(1);
    }
    progress.end();
    assertThat(text()).isEqualTo("Working: 0 %\nWorking: 50 %\nWorking: 100 %\nWorking: done\n");
  }

  @Test
  void workThatFailsIsNotCalledDone() {
    ConsoleProgress progress = progress(false);
    progress.reset("Working", 10);
    progress.increment(9);
    progress.end();
    assertThat(text()).isEqualTo("Working: 0 %\n");
  }

  @Test
  void aTerminalGetsOneLineThatIsRenewedTenTimesASecondAndRemovedAtTheEnd() {
    ConsoleProgress progress = progress(true);
    progress.reset("Working", 100);
    for (int i = 0; i < 100; i++) {
      wait(5, TimeUnit.MILLISECONDS);
      progress.increment(1);
    }
    progress.end();
    assertThat(text())
        .isEqualTo(
            "\r\033[KWorking: 0 %\r\033[KWorking: 20 %\r\033[KWorking: 40 %\r\033[KWorking: 60 %"
                + "\r\033[KWorking: 80 %\r\033[KWorking: 100 %\r\033[K");
  }

  @Test
  void workOfNoKnownSizeIsShownToo() {
    ConsoleProgress progress = progress(false);
    progress.reset("Working", 0);
    progress.increment(1);
    progress.end();
    assertThat(text()).isEqualTo("Working\nWorking: done\n");
  }
}
