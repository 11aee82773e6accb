package io.winnow.core.internal.environment;

import java.util.concurrent.CancellationException;

/** Ends long work in the way all of the library's does. */
public final class Interruption {
  private Interruption() {}

  /**
   * Throws if the thread is interrupted, which it stays.
   *
   * @param message such as "The evaluation was interrupted"
   */
  public static void check(String message) {
    if (Thread.currentThread().isInterrupted()) {
      throw new CancellationException(message);
    }
  }
}
