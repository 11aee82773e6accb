package io.winnow.core.evaluate;

import io.winnow.core.InvalidInputException;
import java.util.concurrent.CancellationException;

/**
 * A text that a regular expression can read only so often: Java's expressions may take time that
 * grows exponentially with the text, and know no limit.
 */
final class BoundedText implements CharSequence {
  private static final long MAX_READS = 10_000_000;

  private final CharSequence text;
  private final long[] reads;

  BoundedText(CharSequence text) {
    this(text, new long[1]);
  }

  private BoundedText(CharSequence text, long[] reads) {
    this.text = text;
    this.reads = reads;
  }

  @Override
  public char charAt(int index) {
    if (++reads[0] > MAX_READS) {
      throw new InvalidInputException(
          String.format(
              "The regular expression reads a text of %d characters more than %d times; simplify"
                  + " it, nested repetitions such as (a+)+ take exponential time",
              text.length(), MAX_READS));
    }
    if ((reads[0] & 0xffff) == 0 && Thread.currentThread().isInterrupted()) {
      throw new CancellationException("The evaluation was interrupted");
    }
    return text.charAt(index);
  }

  @Override
  public int length() {
    return text.length();
  }

  @Override
  public CharSequence subSequence(int start, int end) {
    return new BoundedText(text.subSequence(start, end), reads);
  }

  @Override
  public String toString() {
    return text.toString();
  }
}
