package io.winnow.core.evaluate;

/** The standard error of a share. */
final class StandardError {
  private StandardError() {}

  static double of(double share, int count) {
    return count < 2 ? 0 : Math.sqrt(share * (1 - share) / (count - 1));
  }
}
