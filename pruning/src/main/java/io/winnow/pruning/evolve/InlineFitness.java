package io.winnow.pruning.evolve;

import io.winnow.pruning.internal.evolve.Journal;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.Iterator;
import java.util.function.ToDoubleFunction;

/** A fitness that the calling thread computes. */
record InlineFitness(String digest, ToDoubleFunction<Individual> function) implements Fitness {
  @Override
  public void evaluate(Iterator<Individual> individuals, Results results) {
    while (individuals.hasNext()) {
      Interrupts.check(Journal.INTERRUPTED);
      Individual individual = individuals.next();
      results.accept(individual, function.applyAsDouble(individual));
    }
  }
}
