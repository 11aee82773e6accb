package io.winnow.pruning.evolve;

import io.winnow.core.internal.environment.Interruption;
import io.winnow.pruning.internal.evolve.Journal;
import java.util.Iterator;
import java.util.function.ToDoubleFunction;

/** A fitness that the calling thread computes. */
record InlineFitness(String digest, ToDoubleFunction<Individual> function) implements Fitness {
  @Override
  public void evaluate(Iterator<Individual> individuals, Results results) {
    while (individuals.hasNext()) {
      Interruption.check(Journal.INTERRUPTED);
      Individual individual = individuals.next();
      results.accept(individual, function.applyAsDouble(individual));
    }
  }
}
