package io.winnow.pruning.sparsify;

import io.winnow.core.InvalidInputException;
import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Which of a row's weights become zero, given their scores: the lowest of each group. Of equal
 * scores the first go first. Immutable.
 */
public final class SparsityPattern {
  /** Two of every four successive weights of a row, which NVIDIA's sparse tensor cores compute. */
  public static final SparsityPattern TWO_OF_FOUR = ofGroups(2, 4);

  private static final Pattern GROUPS = Pattern.compile("(\\d{1,6}):(\\d{1,6})");

  private final int zeros;
  private final int groupSize;
  private final double share;

  private SparsityPattern(int zeros, int groupSize, double share) {
    this.zeros = zeros;
    this.groupSize = groupSize;
    this.share = share;
  }

  /**
   * Creates a pattern by which {@code zeros} of every {@code groupSize} successive weights of a row
   * become zero (semi-structured).
   *
   * @throws InvalidInputException unless 0 &lt; zeros &lt; groupSize
   */
  public static SparsityPattern ofGroups(int zeros, int groupSize) {
    if (zeros < 1 || zeros >= groupSize) {
      throw new InvalidInputException(
          String.format(
              "%d of every %d weights cannot become zero; use at least 1 and fewer than the group"
                  + " has, such as 2:4",
              zeros, groupSize));
    }
    return new SparsityPattern(zeros, groupSize, (double) zeros / groupSize);
  }

  /**
   * Creates a pattern by which this share of each row's weights, rounded down to whole ones,
   * becomes zero (unstructured).
   *
   * @throws InvalidInputException unless 0 &lt; share &lt; 1
   */
  public static SparsityPattern ofShare(double share) {
    if (!(share > 0 && share < 1)) {
      throw new InvalidInputException(
          "A share of " + share + " of the weights cannot become zero; use one between 0 and 1");
    }
    return new SparsityPattern(0, 0, share);
  }

  /**
   * Reads what {@link #toString} gives: {@code 2:4} (two of four are zero) or a share such as
   * {@code 0.5}.
   *
   * @throws InvalidInputException if it is something else
   */
  public static SparsityPattern parse(String text) {
    Matcher groups = GROUPS.matcher(text);
    if (groups.matches()) {
      return ofGroups(Integer.parseInt(groups.group(1)), Integer.parseInt(groups.group(2)));
    }
    try {
      return ofShare(Double.parseDouble(text));
    } catch (NumberFormatException e) {
      throw new InvalidInputException(
          "A pattern '" + text + "' is not known; use 2:4 or a share between 0 and 1, such as 0.5",
          e);
    }
  }

  /**
   * Checks that rows of this length can be cut into groups.
   *
   * @throws InvalidInputException if they cannot
   */
  void checkFits(long columns) {
    if (groupSize > 0 && columns % groupSize != 0) {
      throw new InvalidInputException(
          String.format(
              "Rows of %d weights have no whole groups of %d for the pattern %s; use a share, such as"
                  + " %s",
              columns, groupSize, this, share));
    }
  }

  /**
   * Sets {@code zero} at the weights of a row to erase.
   *
   * @param scores of the weights, not negative
   * @param zero as many, all false
   */
  void select(double[] scores, boolean[] zero) {
    checkFits(scores.length);
    double[] sorted = scores.clone();
    int size = groupSize == 0 ? scores.length : groupSize;
    int count = groupSize == 0 ? (int) (scores.length * share) : zeros;
    for (int from = 0; count > 0 && from < scores.length; from += size) {
      int to = from + size;
      Arrays.sort(sorted, from, to);
      double greatest = sorted[from + count - 1];
      int left = count;
      for (int i = from; i < to; i++) {
        if (scores[i] < greatest) {
          zero[i] = true;
          left--;
        }
      }
      for (int i = from; left > 0; i++) {
        if (scores[i] == greatest) {
          zero[i] = true;
          left--;
        }
      }
    }
  }

  /** Returns whether {@link #TWO_OF_FOUR} describes the same. */
  boolean isTwoOfFour() {
    return equals(TWO_OF_FOUR);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SparsityPattern that
        && zeros == that.zeros
        && groupSize == that.groupSize
        && share == that.share;
  }

  @Override
  public int hashCode() {
    return 31 * (31 * zeros + groupSize) + Double.hashCode(share);
  }

  /** Returns {@code 2:4}, or the share. */
  @Override
  public String toString() {
    return groupSize == 0 ? Double.toString(share) : zeros + ":" + groupSize;
  }
}
