package io.winnow.pruning.internal.search;

import io.winnow.core.InvalidInputException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;

/** Divides a total of experts among layers. */
public final class BudgetDivision {
  private BudgetDivision() {}

  /**
   * Divides a total among layers so that the sum of their losses is least, by dynamic programming
   * over the layers. Of equally good divisions the one that gives less to the first layers wins.
   *
   * @param losses by layer, then by the number of experts that it may retain, what that loses
   * @param total how many there are to give at most
   * @return by layer how many it retains
   * @throws InvalidInputException if even the least numbers are more than the total
   */
  public static int[] divide(List<SortedMap<Integer, Double>> losses, int total) {
    int least = losses.stream().mapToInt(SortedMap::firstKey).sum();
    int most = losses.stream().mapToInt(SortedMap::lastKey).sum();
    if (total < least) {
      throw new InvalidInputException(
          String.format(
              "%d experts are too few for %d layers, which need at least %d together; allow %d to"
                  + " %d",
              total, losses.size(), least, least, most));
    }
    int size = Math.min(total, most) + 1;
    double[] best = new double[size]; // By what is left for the layers from here on.
    List<int[]> choices = new ArrayList<>();
    for (int layer = losses.size() - 1; layer >= 0; layer--) {
      double[] next = new double[size];
      int[] choice = new int[size];
      Arrays.fill(next, Double.POSITIVE_INFINITY);
      for (int left = 0; left < size; left++) {
        for (var option : losses.get(layer).entrySet()) {
          int retained = option.getKey();
          if (retained <= left && option.getValue() + best[left - retained] < next[left]) {
            next[left] = option.getValue() + best[left - retained];
            choice[left] = retained;
          }
        }
      }
      best = next;
      choices.add(0, choice);
    }
    int[] retained = new int[losses.size()];
    int left = size - 1;
    for (int layer = 0; layer < retained.length; layer++) {
      retained[layer] = choices.get(layer)[left];
      left -= retained[layer];
    }
    return retained;
  }
}
