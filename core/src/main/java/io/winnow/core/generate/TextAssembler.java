package io.winnow.core.generate;

import com.google.common.primitives.Longs;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;

/**
 * Makes text of one sequence's tokens as they come, and watches for stop strings.
 *
 * <p>What a token adds may depend on its neighbours: bytes of one character in several tokens,
 * blanks that a first token loses. So a piece is the difference between the texts of a short window
 * of tokens with and without the new ones, and waits as long as it ends in U+FFFD, which stands for
 * an incomplete character. Not thread-safe.
 */
final class TextAssembler {
  private static final char INCOMPLETE = '\uFFFD';

  private final Function<long[], String> decoder;
  private final List<String> stopStrings;
  private final StringBuilder text = new StringBuilder();

  /** The last tokens whose text is in {@code text}, then the new ones. */
  private long[] window = {};

  private int decoded;
  private int decodedLength;
  private int emitted;
  private boolean stopped;

  /**
   * Creates an assembler of an empty text.
   *
   * @param decoder turns tokens into text
   * @param stopStrings the texts to stop at
   */
  TextAssembler(Function<long[], String> decoder, List<String> stopStrings) {
    this.decoder = decoder;
    this.stopStrings = List.copyOf(stopStrings);
  }

  /** Takes a token; then {@link #stopped} and {@link #take} tell what it did. */
  void add(long token) {
    window = Longs.concat(window, new long[] {token});
    decode(false);
  }

  private void decode(boolean all) {
    String after = decoder.apply(window);
    if (after.length() <= decodedLength
        || (!all && after.charAt(after.length() - 1) == INCOMPLETE)) {
      return;
    }
    int searchFrom = text.length();
    text.append(after, decodedLength, after.length());
    window = Arrays.copyOfRange(window, decoded, window.length);
    decoded = window.length;
    decodedLength = decoder.apply(window).length();
    findStop(searchFrom);
  }

  private void findStop(int newFrom) {
    int first = Integer.MAX_VALUE;
    for (String stop : stopStrings) {
      int at = text.indexOf(stop, Math.max(0, newFrom - stop.length() + 1));
      if (at >= 0) {
        first = Math.min(first, at);
      }
    }
    if (first < Integer.MAX_VALUE) {
      text.setLength(first);
      stopped = true;
    }
  }

  /** Returns whether the text came to a stop string, and ends before it. */
  boolean stopped() {
    return stopped;
  }

  /** Takes the text that is certain by now and was not taken yet. */
  String take() {
    return take(stopped ? text.length() : text.length() - possibleStop());
  }

  /** Takes all that is left of a text that has ended, an incomplete character as U+FFFD. */
  String takeRest() {
    if (!stopped) {
      decode(true);
    }
    return take(text.length());
  }

  private String take(int end) {
    String piece = text.substring(emitted, Math.max(emitted, end));
    emitted += piece.length();
    return piece;
  }

  /** Returns the length of the longest end of the text that a stop string may begin with. */
  private int possibleStop() {
    int longest = 0;
    for (String stop : stopStrings) {
      for (int length = Math.min(stop.length() - 1, text.length()); length > longest; length--) {
        if (text.substring(text.length() - length).equals(stop.substring(0, length))) {
          longest = length;
        }
      }
    }
    return longest;
  }

  /** Returns the text that was taken. */
  String taken() {
    return text.substring(0, emitted);
  }
}
