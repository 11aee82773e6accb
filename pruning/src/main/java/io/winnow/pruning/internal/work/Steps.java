package io.winnow.pruning.internal.work;

import ai.djl.util.Progress;
import org.jspecify.annotations.Nullable;

/** The steps of a run, told to a listener if there is one. */
public final class Steps {
  private final @Nullable Progress progress;

  /** Creates steps that the listener is told of; null for nobody. */
  public Steps(@Nullable Progress progress) {
    this.progress = progress;
  }

  /** Begins a run of so many steps. */
  public void begin(String what, long steps) {
    if (progress != null) {
      progress.reset(what, steps);
    }
  }

  /** Ends a step. */
  public void done() {
    if (progress != null) {
      progress.increment(1);
    }
  }

  /** Ends the run. */
  public void end() {
    if (progress != null) {
      progress.end();
    }
  }
}
