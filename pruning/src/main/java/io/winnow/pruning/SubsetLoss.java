package io.winnow.pruning;

import com.google.common.collect.Comparators;
import java.util.Comparator;
import java.util.List;

/**
 * The reconstruction loss of removing some experts (NAEE, equation 3).
 *
 * @param dropped the experts removed, ascending
 * @param loss sum over groups of tokens of the Frobenius norm of the change of the layer's output
 */
public record SubsetLoss(List<Integer> dropped, double loss) implements Comparable<SubsetLoss> {
  private static final Comparator<SubsetLoss> ORDER =
      Comparator.comparingDouble(SubsetLoss::loss)
          .thenComparing(
              SubsetLoss::dropped, Comparators.lexicographical(Comparator.<Integer>naturalOrder()));

  /** Copies the list. */
  public SubsetLoss {
    dropped = List.copyOf(dropped);
  }

  /** Orders by loss; of equal losses the lexicographically first set of dropped experts leads. */
  @Override
  public int compareTo(SubsetLoss other) {
    return ORDER.compare(this, other);
  }
}
