package io.winnow.pruning.internal.evolve;

import io.winnow.core.ExpertMerge;
import java.util.List;
import java.util.Random;
import java.util.function.ToDoubleFunction;

/** Makes the individuals of a phase, generation by generation, from all that were evaluated. */
public interface Operators {
  /**
   * Returns the next generation: the merges of individuals that differ from each other and from all
   * before.
   *
   * @param history everything evaluated in this phase, in its order
   * @param count how many; fewer, perhaps none, come back where the space is exhausted
   * @param random seeded for this generation
   */
  List<List<ExpertMerge>> next(List<Evaluated> history, int count, Random random);

  /** Returns the best; of two equal ones the earlier. */
  static <T> T best(List<T> history, ToDoubleFunction<T> fitness) {
    T best = history.get(0);
    for (T one : history) {
      if (fitness.applyAsDouble(one) > fitness.applyAsDouble(best)) {
        best = one;
      }
    }
    return best;
  }
}
