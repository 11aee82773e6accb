package io.winnow.core;

/**
 * Thrown when what the caller gave cannot be used: a damaged checkpoint, an impossible number of
 * experts, an empty calibration text. The message says what is wrong, the value, and the cure.
 * Nothing has been changed when it is thrown.
 */
public class InvalidInputException extends IllegalArgumentException {
  private static final long serialVersionUID = 1L;

  /** Creates an exception whose message says what is wrong, the value, and the cure. */
  public InvalidInputException(String message) {
    super(message);
  }

  /** Creates an exception with a cause, and a message as above. */
  public InvalidInputException(String message, Throwable cause) {
    super(message, cause);
  }
}
