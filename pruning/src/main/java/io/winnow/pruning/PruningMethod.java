package io.winnow.pruning;

import io.winnow.pruning.internal.search.ActivationScores;
import io.winnow.pruning.internal.search.SubsetSearch;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.util.List;
import java.util.concurrent.Executor;

/**
 * Chooses which experts of a layer stay. The library's methods are made by the static factories; a
 * host application may add its own.
 *
 * <p>Implementations are immutable and deterministic: the same layer, number and seed give the same
 * choice.
 */
public interface PruningMethod {
  /** Returns the name that reports, plans and checkpoints carry. */
  String name();

  /** Returns whether the method needs calibration tokens at all. */
  default boolean needsCalibration() {
    return true;
  }

  /** Returns whether the method needs the experts' outputs, n expert evaluations per token. */
  boolean needsExpertOutputs();

  /**
   * Chooses the experts of one layer that stay.
   *
   * @param layer what was seen of the layer on the calibration tokens
   * @param retained r, from k to n
   * @param seed the seed of everything random
   */
  Choice choose(LayerCalibration layer, int retained, long seed);

  /**
   * Chooses like {@link #choose(LayerCalibration, int, long)}, whose choice it makes whatever the
   * executor, on which long work may be spread.
   *
   * @param executor runs parts of the work; the calling thread takes part, too
   */
  default Choice choose(LayerCalibration layer, int retained, long seed, Executor executor) {
    return choose(layer, retained, seed);
  }

  /**
   * What a method chose.
   *
   * @param retained the experts that stay, ascending
   * @param exact whether no other subset is better by the method's own measure
   * @param losses the loss of every subset that was looked at, best first; empty if the method
   *     measures none
   */
  record Choice(List<Integer> retained, boolean exact, List<SubsetLoss> losses) {
    /** Copies the lists. */
    public Choice {
      retained = List.copyOf(retained);
      losses = List.copyOf(losses);
    }
  }

  /**
   * Returns NAEE's reconstruction search (arXiv 2402.14800, section 3.2): the subset whose layer
   * output differs least from the original's. Every subset is looked at while there are at most
   * 20,000. Beyond that, backward elimination, other methods' choices and random ones are followed
   * by exchanges of pairs, and branch and bound tries to prove the best of what they lead to.
   */
  static PruningMethod reconstruction() {
    return new ReconstructionSearch(SubsetSearch.DEFAULT_SUBSET_LIMIT);
  }

  /**
   * Returns NAEE's reconstruction search with another limit of exact enumeration.
   *
   * @param subsetLimit the greatest number of subsets to look at one by one, and of branches of a
   *     proof
   */
  static PruningMethod reconstruction(long subsetLimit) {
    return new ReconstructionSearch(subsetLimit);
  }

  /** Returns the choice by lot, seeded. */
  static PruningMethod random() {
    return new RandomChoice();
  }

  /** Returns the choice of the experts that the most tokens select. */
  static PruningMethod frequency() {
    return new ScoreMethod("frequency", false, InnerProductTable::selectionCounts);
  }

  /** Returns the choice of the experts with the greatest sum of router scores over all tokens. */
  static PruningMethod softActivation() {
    return new ScoreMethod("soft-activation", false, InnerProductTable::softActivation);
  }

  /**
   * Returns EAN, the choice of the experts with the greatest sum of their outputs' L2 norms over
   * the tokens that select them. Here and below an expert that no token selects has the score 0.
   */
  static PruningMethod expertActivationNorm() {
    return new ScoreMethod(
        "ean", true, table -> ActivationScores.sum(table, (weight, norm) -> norm));
  }

  /**
   * Returns REAP (arXiv 2510.13999): the choice of the experts with the greatest mean of routing
   * weight, as the layer applies it, times the output's L2 norm over the tokens that select them.
   */
  static PruningMethod reap() {
    return new ScoreMethod("reap", true, ActivationScores::reap);
  }

  /**
   * Returns MAN (arXiv 2606.15716): the choice of the experts with the greatest mean L2 norm of the
   * output over the tokens that select them.
   */
  static PruningMethod meanActivationNorm() {
    return new ScoreMethod(
        "man", true, table -> ActivationScores.mean(table, (weight, norm) -> norm));
  }

  /**
   * Returns MSAN (arXiv 2606.15716): the choice of the experts with the greatest mean squared L2
   * norm of the output over the tokens that select them.
   */
  static PruningMethod meanSquaredActivationNorm() {
    return new ScoreMethod(
        "msan", true, table -> ActivationScores.mean(table, (weight, norm) -> norm * norm));
  }

  /**
   * Returns the choice of the experts whose removal alone costs the greatest reconstruction loss.
   */
  static PruningMethod leaveOneOut() {
    return new ScoreMethod("leave-one-out", true, ActivationScores::leaveOneOut);
  }

  /** Returns all methods of this library. */
  static List<PruningMethod> all() {
    return List.of(
        reconstruction(),
        random(),
        frequency(),
        softActivation(),
        expertActivationNorm(),
        reap(),
        meanActivationNorm(),
        meanSquaredActivationNorm(),
        leaveOneOut());
  }
}
