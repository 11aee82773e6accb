package io.winnow.pruning.evolve;

import java.io.Serializable;

/**
 * An individual and what it is worth.
 *
 * @param fitness higher is better; negative infinity if the model gave no finite number
 */
public record EvaluatedIndividual(Individual individual, double fitness) implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Takes a fitness that is not finite for the worst. */
  public EvaluatedIndividual {
    fitness = Double.isFinite(fitness) ? fitness : Double.NEGATIVE_INFINITY;
  }
}
