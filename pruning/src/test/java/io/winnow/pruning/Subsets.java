package io.winnow.pruning;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/** Subsets of experts, for references that share no code with the library. */
public final class Subsets {
  private Subsets() {}

  /** All subsets of this size in lexicographical order. */
  public static List<List<Integer>> of(int experts, int size) {
    List<List<Integer>> subsets = new ArrayList<>();
    for (int bits = 0; bits < 1 << experts; bits++) {
      if (Integer.bitCount(bits) == size) {
        int set = bits;
        subsets.add(IntStream.range(0, experts).filter(i -> (set >> i & 1) == 1).boxed().toList());
      }
    }
    subsets.sort(
        (a, b) -> {
          for (int i = 0; i < size; i++) {
            if (!a.get(i).equals(b.get(i))) {
              return Integer.compare(a.get(i), b.get(i));
            }
          }
          return 0;
        });
    return subsets;
  }

  /** The experts that are not among some. */
  public static List<Integer> others(int experts, List<Integer> some) {
    return IntStream.range(0, experts).filter(i -> !some.contains(i)).boxed().toList();
  }
}
