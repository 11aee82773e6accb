package io.winnow.core.internal.scoring;

import java.util.List;
import java.util.function.Consumer;

/** Computes the likelihoods of continuations' tokens. */
interface ContinuationScorer {
  /** Where the likelihoods of a token go. */
  interface Sink {
    /**
     * Takes a token.
     *
     * @param unit the number of the {@link Continuations}
     * @param continuation the number of the continuation
     */
    void accept(int unit, int continuation, float logLikelihood, boolean greedy);
  }

  /**
   * Scores every token of every continuation, in any order of the continuations but in the order of
   * each one's tokens.
   *
   * @param units whose contexts and continuations fit the model
   * @param batchDone is told of every batch with the number of units in it
   */
  void score(List<Continuations> units, Sink sink, Consumer<Integer> batchDone);
}
