package io.winnow.pruning.evolve;

import io.winnow.core.ExpertMerge;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * A task without a model: every matrix has a hidden optimum, and some experts are worth more than
 * others. Costs nothing, and has interactions between experts of one layer and between layers.
 */
final class FakeTask {
  static final SearchSpace SPACE =
      new SearchSpace(IntStream.range(0, 4).boxed().toList(), 4, 8, 4, 2);

  private FakeTask() {}

  static double fitness(Individual individual) {
    Random random = new Random(7);
    double sum = 0;
    double previous = 0;
    for (ExpertMerge merge : individual.groups()) {
      double here = 0;
      for (int expert = 0; expert < merge.numExperts(); expert++) {
        double worth = random.nextGaussian();
        double shift = 0.2 * random.nextGaussian();
        double held = 0;
        double routed = 0;
        for (int row = 0; row < merge.retained(); row++) {
          held += merge.expertMerging(row, expert);
          routed += merge.routerMapping(row, expert);
        }
        here += worth * held - 0.5 * (held - shift) * (held - shift);
        here -= 0.1 * (routed - held - shift) * (routed - held - shift);
      }
      sum += here + 0.3 * Math.sin(here * previous);
      previous = here;
    }
    return sum;
  }

  static Fitness inline() {
    return Fitness.of("fake", FakeTask::fitness);
  }

  static EvolutionarySearch.Builder search(Fitness fitness, long seed) {
    return EvolutionarySearch.builder(SPACE, fitness)
        .optSeed(seed)
        .optPruning(SearchLimit.evaluations(40))
        .optMerging(SearchLimit.evaluations(45));
  }
}
