package io.winnow.pruning.internal.work;

import io.winnow.core.internal.environment.Interruption;
import java.util.concurrent.CancellationException;

/** Ends a run of pruning whose thread was interrupted; the thread stays so. */
public final class Interrupts {
  private Interrupts() {}

  /**
   * Ends a run that has removed nothing so far.
   *
   * @throws CancellationException if the thread is interrupted
   */
  public static void check() {
    Interruption.check("Pruning was interrupted; the model is unchanged");
  }
}
