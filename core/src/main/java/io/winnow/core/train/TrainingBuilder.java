package io.winnow.core.train;

import ai.djl.util.Progress;
import io.winnow.core.InvalidInputException;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * The options that all trainings have. Not thread-safe.
 *
 * @param <B> the builder that the methods return
 */
abstract class TrainingBuilder<B extends TrainingBuilder<B>> {
  int steps;
  int batch;
  int validationInterval;
  double distillation = 0.9;
  long seed;
  @Nullable Duration timeLimit;
  @Nullable Progress progress;

  TrainingBuilder(int steps, int batch, int validationInterval) {
    this.steps = steps;
    this.batch = batch;
    this.validationInterval = validationInterval;
  }

  abstract B self();

  /** Sets the number of steps. */
  public B optSteps(int newSteps) {
    steps = atLeast("number of steps", newSteps, 1);
    return self();
  }

  /** Sets how many sequences run at a time. */
  public B optBatchSize(int sequences) {
    batch = atLeast("batch size", sequences, 1);
    return self();
  }

  /** Sets after how many steps the validation text is measured again. */
  public B optValidationInterval(int newInterval) {
    validationInterval = atLeast("validation interval", newInterval, 1);
    return self();
  }

  /** Sets the seed of the order of the training text, 0 by default. */
  public B optSeed(long newSeed) {
    seed = newSeed;
    return self();
  }

  /** Sets after what time no further step is begun, counted from the first one. */
  public B optTimeLimit(Duration newLimit) {
    timeLimit = newLimit;
    return self();
  }

  /** Sets a listener that is told of every step. */
  public B optProgress(Progress newProgress) {
    progress = newProgress;
    return self();
  }

  final void distillation(double share) {
    if (!(share >= 0 && share <= 1)) {
      throw new InvalidInputException(
          "The share of distillation is " + share + "; it must be from 0 to 1");
    }
    distillation = share;
  }

  static int atLeast(String name, int value, int least) {
    if (value < least) {
      throw new InvalidInputException("The " + name + " is " + value + "; use at least " + least);
    }
    return value;
  }

  static double notNegative(String name, double value) {
    if (!(value >= 0 && value < Double.POSITIVE_INFINITY)) {
      throw new InvalidInputException(
          "The " + name + " is " + value + "; it must be finite, and at least 0");
    }
    return value;
  }

  static double positive(String name, double value) {
    if (!(value > 0 && value < Double.POSITIVE_INFINITY)) {
      throw new InvalidInputException(
          "The " + name + " is " + value + "; it must be finite, and greater than 0");
    }
    return value;
  }
}
