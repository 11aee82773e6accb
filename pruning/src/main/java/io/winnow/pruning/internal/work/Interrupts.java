package io.winnow.pruning.internal.work;

import java.util.concurrent.CancellationException;

/** Ends work whose thread was interrupted; the thread stays so. */
public final class Interrupts {
  private Interrupts() {}

  /** Ends a run of pruning that has removed nothing so far. */
  public static void check() {
    check("Pruning was interrupted; the model is unchanged");
  }

  /**
   * Ends any work.
   *
   * @param message what was interrupted, and what is left of it
   * @throws CancellationException if the thread is interrupted
   */
  public static void check(String message) {
    if (Thread.currentThread().isInterrupted()) {
      throw new CancellationException(message);
    }
  }
}
