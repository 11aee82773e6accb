package io.winnow.pruning.evolve;

import java.util.List;

/**
 * One generation of a search, evaluated. Immutable.
 *
 * @param state where the search stands after it
 * @param individuals in the order in which they were made
 */
public record SearchGeneration(SearchState state, List<EvaluatedIndividual> individuals) {
  /** Copies the list. */
  public SearchGeneration {
    individuals = List.copyOf(individuals);
  }
}
