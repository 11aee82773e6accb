package io.winnow.pruning.internal.search;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.InvalidInputException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SortedMap;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

/** How a total of experts is divided among layers. */
class BudgetDivisionTest {
  @Test
  void noDivisionIsBetter() {
    for (int seed = 0; seed < 200; seed++) {
      Random random = new Random(seed);
      List<SortedMap<Integer, Double>> losses = new ArrayList<>();
      for (int layer = 0; layer < 1 + random.nextInt(4); layer++) {
        SortedMap<Integer, Double> ofLayer = new TreeMap<>();
        int step = 1 + random.nextInt(2);
        for (int retained = 1 + random.nextInt(2); retained <= 6; retained += step) {
          ofLayer.put(retained, random.nextDouble());
        }
        losses.add(ofLayer);
      }
      int least = losses.stream().mapToInt(SortedMap::firstKey).sum();
      int total = least + random.nextInt(12);
      int[] divided = BudgetDivision.divide(losses, total);
      assertThat(Arrays.stream(divided).sum()).as("seed %s", seed).isLessThanOrEqualTo(total);
      double sum = 0;
      for (int layer = 0; layer < divided.length; layer++) {
        sum += losses.get(layer).get(divided[layer]);
      }
      assertThat(sum).as("seed %s", seed).isCloseTo(best(losses, 0, total), within(1e-12));
    }
  }

  private static double best(List<SortedMap<Integer, Double>> losses, int layer, int left) {
    if (layer == losses.size()) {
      return 0;
    }
    double best = Double.POSITIVE_INFINITY;
    for (Map.Entry<Integer, Double> option : losses.get(layer).entrySet()) {
      if (option.getKey() <= left) {
        best = Math.min(best, option.getValue() + best(losses, layer + 1, left - option.getKey()));
      }
    }
    return best;
  }

  @Test
  void ofEqualDivisionsTheFirstLayersGetLess() {
    SortedMap<Integer, Double> linear = new TreeMap<>(Map.of(1, 2.0, 2, 1.0, 3, 0.0));
    assertThat(BudgetDivision.divide(List.of(linear, linear), 4)).containsExactly(1, 3);
  }

  @Test
  void moreThanThereIsIsEverything() {
    SortedMap<Integer, Double> losses = new TreeMap<>(Map.of(2, 1.0, 8, 0.0));
    assertThat(BudgetDivision.divide(List.of(losses, losses), Integer.MAX_VALUE))
        .containsExactly(8, 8);
  }

  @Test
  void lessThanTopKEverywhereIsRefused() {
    SortedMap<Integer, Double> losses = new TreeMap<>(Map.of(2, 1.0, 8, 0.0));
    assertThatThrownBy(() -> BudgetDivision.divide(List.of(losses, losses, losses), 5))
        .isInstanceOf(InvalidInputException.class)
        .hasMessage(
            "5 experts are too few for 3 layers, which need at least 6 together; allow 6 to 24");
  }
}
