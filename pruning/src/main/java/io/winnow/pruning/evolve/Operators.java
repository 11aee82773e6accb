package io.winnow.pruning.evolve;

import java.util.List;
import java.util.Random;

/** Makes the individuals of a phase, generation by generation, from all that were evaluated. */
interface Operators {
  /**
   * Returns the next generation: individuals that differ from each other and from all before.
   *
   * @param history everything evaluated in this phase, in its order
   * @param count how many; fewer, perhaps none, come back where the space is exhausted
   * @param random seeded for this generation
   */
  List<Individual> next(List<EvaluatedIndividual> history, int count, Random random);

  /** Returns the best; of two equal ones the earlier. */
  static EvaluatedIndividual best(List<EvaluatedIndividual> history) {
    EvaluatedIndividual best = history.get(0);
    for (EvaluatedIndividual one : history) {
      if (one.fitness() > best.fitness()) {
        best = one;
      }
    }
    return best;
  }
}
