package io.winnow.core.routing;

import io.winnow.core.InvalidInputException;
import io.winnow.core.routing.ScoredRouting.GroupScore;
import java.util.Arrays;

/**
 * Groups of experts, equal parts of them in order, of which a token uses few.
 *
 * @param count how many there are
 * @param selected how many a token uses
 * @param score how they are judged
 */
record ExpertGroups(int count, int selected, GroupScore score) {
  /** All experts in one group. */
  static final ExpertGroups NONE = new ExpertGroups(1, 1, GroupScore.GREATEST);

  /** Checks that so many experts make groups in which a token finds those that it selects. */
  void check(int experts, int topK) {
    int size = count < 1 ? 0 : experts / count;
    boolean fits = count >= 1 && experts % count == 0;
    boolean enough = selected >= 1 && selected <= count;
    int least = score == GroupScore.TWO_GREATEST && count > 1 ? 2 : 1;
    if (!fits || !enough || size < least || size * (long) selected < topK) {
      throw new InvalidInputException(
          String.format(
              "%d experts in %d groups, of which a token uses %d, do not serve tokens that select"
                  + " %d: groups must be equally large, of at least %d experts, and those used"
                  + " must have enough",
              experts, count, selected, topK, least));
    }
  }

  /** Checks that groups stay equally large when only some experts are left. */
  void checkRetained(int experts, int... retained) {
    int size = experts / count;
    int[] left = new int[count];
    for (int expert : retained) {
      if (expert < 0 || expert >= experts) {
        throw new InvalidInputException(
            "Expert "
                + expert
                + " cannot be retained: there are the experts 0 to "
                + (experts - 1));
      }
      left[expert / size]++;
    }
    if (Arrays.stream(left).distinct().count() > 1) {
      throw new InvalidInputException(
          String.format(
              "The experts are routed in %d groups of %d, which must stay equally large, but would"
                  + " retain %s; retain a multiple of %d, the same number in each group",
              count, size, Arrays.toString(left), count));
    }
  }

  /** Takes the experts of the groups that a token does not use out of the selection. */
  void mask(double[] scores) {
    if (selected == count) {
      return;
    }
    int size = scores.length / count;
    double[] ofGroups = new double[count];
    for (int group = 0; group < count; group++) {
      int first = greatest(scores, group * size, (group + 1) * size);
      ofGroups[group] = scores[first];
      if (score == GroupScore.TWO_GREATEST) {
        double second = Double.NEGATIVE_INFINITY;
        for (int expert = group * size; expert < (group + 1) * size; expert++) {
          second = expert == first ? second : Math.max(second, scores[expert]);
        }
        ofGroups[group] += second;
      }
    }
    boolean[] used = new boolean[count];
    for (int i = 0; i < selected; i++) {
      int best = greatest(ofGroups, 0, count);
      used[best] = true;
      ofGroups[best] = Double.NEGATIVE_INFINITY;
    }
    for (int expert = 0; expert < scores.length; expert++) {
      if (!used[expert / size]) {
        scores[expert] = Double.NEGATIVE_INFINITY;
      }
    }
  }

  /** Returns the first place of the greatest value. */
  static int greatest(double[] values, int from, int to) {
    int best = from;
    for (int i = from + 1; i < to; i++) {
      if (values[i] > values[best]) {
        best = i;
      }
    }
    return best;
  }

  /** Returns what a routing says of them; nothing of one group. */
  @Override
  public String toString() {
    return count > 1 ? ", " + selected + " of " + count + " groups" : "";
  }
}
