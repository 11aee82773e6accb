package io.winnow.core;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;

/** What a caller's mistake must lead to. */
public final class Refusal {
  private Refusal() {}

  /** Asserts that a call is refused as invalid. */
  public static AbstractThrowableAssert<?, ? extends Throwable> assertInvalid(
      ThrowingCallable call) {
    return assertThatThrownBy(call).isInstanceOf(InvalidInputException.class);
  }

  /** Asserts that a call is refused as invalid, with a message that contains this. */
  public static void refused(String message, ThrowingCallable call) {
    assertInvalid(call).hasMessageContaining(message);
  }
}
