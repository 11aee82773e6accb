package io.winnow.pruning;

import io.winnow.pruning.internal.search.ScoredSubset;
import java.util.List;

/**
 * The reconstruction loss of removing some experts (NAEE, equation 3).
 *
 * @param dropped the experts removed, ascending
 * @param loss sum over groups of tokens of the Frobenius norm of the change of the layer's output
 */
public record SubsetLoss(List<Integer> dropped, double loss) implements Comparable<SubsetLoss> {
  /** Copies the list. */
  public SubsetLoss {
    dropped = List.copyOf(dropped);
  }

  /** Orders by loss; of equal losses the lexicographically first set of dropped experts leads. */
  @Override
  public int compareTo(SubsetLoss other) {
    return scored().compareTo(other.scored());
  }

  static SubsetLoss of(ScoredSubset subset) {
    return new SubsetLoss(subset.dropped(), subset.loss());
  }

  private ScoredSubset scored() {
    return new ScoredSubset(dropped, loss);
  }
}
