package io.winnow.examples.report;

import com.google.common.base.Joiner;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/** Words and numbers of charts and tables. */
final class Text {
  /** Letters that fit beside the rest of a chart's title. */
  private static final int MOST_LETTERS = 26;

  private Text() {}

  /** Returns a name that fits into a chart: of a long one its beginning and its end. */
  static String shorten(String name) {
    return shorten(name, MOST_LETTERS);
  }

  /** Returns the beginning and the end of a name that has more letters. */
  static String shorten(String name, int most) {
    int[] letters = name.codePoints().toArray();
    if (letters.length <= most) {
      return name;
    }
    int half = (most - 1) / 2;
    return new String(letters, 0, half) + "…" + new String(letters, letters.length - half, half);
  }

  static String decimal(double number) {
    return String.format(Locale.ROOT, "%.1f", number);
  }

  static String percent(double share) {
    return decimal(100 * share) + " %";
  }

  static String list(Collection<?> elements) {
    return elements.isEmpty() ? "none" : Joiner.on(", ").join(elements);
  }

  /** Returns the numbers 0 to n - 1. */
  static List<String> numbers(int n) {
    return IntStream.range(0, n).mapToObj(Integer::toString).toList();
  }

  /** Returns a part of a file's name. */
  static String slug(String name) {
    return name.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]+", "-").replaceAll("^-|-$", "");
  }
}
