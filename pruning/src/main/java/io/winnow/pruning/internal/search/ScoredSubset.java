package io.winnow.pruning.internal.search;

import com.google.common.collect.Comparators;
import java.util.Comparator;
import java.util.List;

/**
 * Some experts of a layer, and the loss of removing them.
 *
 * @param dropped the experts removed, ascending
 * @param loss of removing them
 */
public record ScoredSubset(List<Integer> dropped, double loss) implements Comparable<ScoredSubset> {
  private static final Comparator<ScoredSubset> ORDER =
      Comparator.comparingDouble(ScoredSubset::loss)
          .thenComparing(
              ScoredSubset::dropped,
              Comparators.lexicographical(Comparator.<Integer>naturalOrder()));

  /** Copies the list. */
  public ScoredSubset {
    dropped = List.copyOf(dropped);
  }

  /** Orders by loss; of equal losses the lexicographically first set of dropped experts leads. */
  @Override
  public int compareTo(ScoredSubset other) {
    return ORDER.compare(this, other);
  }
}
