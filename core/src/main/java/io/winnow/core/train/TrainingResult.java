package io.winnow.core.train;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What every training comes to. Immutable; equal to another of the same training with the same
 * values.
 *
 * @param <M> its measurements
 */
abstract class TrainingResult<M> {
  private final int step;
  private final double validationLoss;
  private final List<M> history;

  TrainingResult(int step, double validationLoss, List<M> history) {
    this.step = step;
    this.validationLoss = validationLoss;
    this.history = List.copyOf(history);
  }

  /** Returns the step after which the best on the validation text was reached; 0 for the start. */
  public int step() {
    return step;
  }

  /** Returns the loss of the best on the validation text, in nats per predicted token. */
  public double validationLoss() {
    return validationLoss;
  }

  /** Returns every measurement, in order. */
  public List<M> history() {
    return history;
  }

  /** Returns what a result has beside these. */
  abstract Object more();

  private List<Object> values() {
    return List.of(step, validationLoss, history, more());
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof TrainingResult<?> that
        && getClass() == that.getClass()
        && values().equals(that.values());
  }

  @Override
  public int hashCode() {
    return values().hashCode();
  }

  @Override
  public String toString() {
    return String.format("Result[step=%d, validationLoss=%s, history=%s, %s]", values().toArray());
  }
}
