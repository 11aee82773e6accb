package io.winnow.examples;

import ai.djl.util.Progress;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Shows progress in one line of standard error, at most ten times a second. */
final class ConsoleProgress implements Progress {
  private static final long PERIOD = TimeUnit.MILLISECONDS.toNanos(100);

  private final boolean terminal = System.console() != null;
  private String message = "";
  private long max;
  private long done;
  private long shown;

  @Override
  public void reset(String newMessage, long newMax, @Nullable String trailingMessage) {
    message = newMessage;
    max = newMax;
    done = 0;
    shown = 0;
  }

  @Override
  public void start(long initialProgress) {
    done = initialProgress;
  }

  @Override
  public void end() {
    if (terminal) {
      System.err.print("\r\033[K");
    } else {
      System.err.println(message + ": done");
    }
  }

  @Override
  public void increment(long increment) {
    update(done + increment, null);
  }

  @Override
  public void update(long progress, @Nullable String newMessage) {
    done = progress;
    long now = System.nanoTime();
    if (terminal && max > 0 && now - shown > PERIOD) {
      shown = now;
      System.err.printf("\r\033[K%s: %d of %d (%d %%)", message, done, max, 100 * done / max);
    }
  }
}
