package io.winnow.examples.options;

import io.winnow.core.InvalidInputException;
import org.jspecify.annotations.Nullable;

/** Checks of numbers that options give. */
public final class Numbers {
  private Numbers() {}

  /** Refuses a number below 1; null stands for an option that was not given. */
  public static void requirePositive(String option, @Nullable Number value) {
    if (value != null && value.longValue() < 1) {
      throw new InvalidInputException(option + " is " + value + "; use at least 1");
    }
  }
}
