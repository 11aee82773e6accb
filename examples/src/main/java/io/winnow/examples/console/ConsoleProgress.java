package io.winnow.examples.console;

import ai.djl.util.Progress;
import java.io.PrintStream;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Shows progress on standard error: on a terminal in one line, renewed at most ten times a second;
 * in a log file as a line at the start, every half minute and at the end.
 */
public final class ConsoleProgress implements Progress {
  /** Whether standard error is a terminal: Java cannot tell, examples/bin/winnow can. */
  private static final String TERMINAL = "winnow.terminal";

  private static final String CLEAR = "\r\033[K";
  private static final long TERMINAL_PERIOD = TimeUnit.MILLISECONDS.toNanos(100);
  private static final long LOG_PERIOD = TimeUnit.SECONDS.toNanos(30);

  private final PrintStream out;
  private final boolean terminal;
  private final LongSupplier clock;
  private String message = "";
  private long max;
  private long done;
  private long shown;

  /** Shows progress on this process's standard error. */
  public ConsoleProgress() {
    this(System.err, isTerminal(), System::nanoTime);
  }

  /** Shows progress elsewhere, by a clock in nanoseconds. */
  public ConsoleProgress(PrintStream out, boolean terminal, LongSupplier clock) {
    this.out = out;
    this.terminal = terminal;
    this.clock = clock;
  }

  private static boolean isTerminal() {
    return Boolean.getBoolean(TERMINAL);
  }

  /** Removes a line of progress that may stand there, before other output. */
  public static void clear() {
    if (isTerminal()) {
      System.err.print(CLEAR);
    }
  }

  @Override
  public void reset(String newMessage, long newMax, @Nullable String trailingMessage) {
    message = newMessage;
    max = newMax;
    done = 0;
    show(clock.getAsLong());
  }

  @Override
  public void start(long initialProgress) {
    done = initialProgress;
  }

  /** Also called when the work has failed. */
  @Override
  public void end() {
    if (terminal) {
      out.print(CLEAR);
    } else if (done >= max) {
      out.println(message + ": done");
    }
  }

  @Override
  public void increment(long increment) {
    update(done + increment, null);
  }

  @Override
  public void update(long progress, @Nullable String newMessage) {
    done = progress;
    message = newMessage == null ? message : newMessage;
    long now = clock.getAsLong();
    if (now - shown >= (terminal ? TERMINAL_PERIOD : LOG_PERIOD)) {
      show(now);
    }
  }

  private void show(long now) {
    shown = now;
    String line = max > 0 ? message + ": " + 100 * done / max + " %" : message;
    if (terminal) {
      out.print(CLEAR + line);
    } else {
      out.println(line);
    }
  }
}
