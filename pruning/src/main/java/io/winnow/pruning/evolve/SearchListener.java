package io.winnow.pruning.evolve;

/** Is told how a search gets on, on the thread that searches. */
public interface SearchListener {
  /** Takes an evaluation, in the order in which they end; those from a journal are left out. */
  default void onEvaluation(Phase phase, EvaluatedIndividual evaluated) {}

  /** Takes a generation that is complete, and with it the best so far. */
  default void onGeneration(SearchGeneration generation) {}
}
