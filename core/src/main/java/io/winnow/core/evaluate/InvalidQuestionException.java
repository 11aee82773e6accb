package io.winnow.core.evaluate;

import io.winnow.core.InvalidInputException;

/** What is wrong with a question, of which a reader knows where it stands. */
final class InvalidQuestionException extends InvalidInputException {
  private static final long serialVersionUID = 1L;

  InvalidQuestionException(String message) {
    super(message);
  }
}
