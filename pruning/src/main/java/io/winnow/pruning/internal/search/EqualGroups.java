package io.winnow.pruning.internal.search;

import com.google.common.collect.ContiguousSet;
import com.google.common.collect.DiscreteDomain;
import com.google.common.collect.Iterables;
import com.google.common.collect.Lists;
import com.google.common.collect.Range;
import com.google.common.collect.Sets;
import com.google.common.hash.Hashing;
import com.google.common.math.LongMath;
import io.winnow.core.Routing;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * The groups of a layer's experts, equal parts in order, of each of which equally many stay; often
 * one group of all.
 */
public final class EqualGroups {
  private final int groups;
  private final int size;

  private EqualGroups(int groups, int size) {
    this.groups = groups;
    this.size = size;
  }

  /** Returns the groups of a layer. */
  public static EqualGroups of(Routing routing, int numExperts) {
    return new EqualGroups(routing.groups(), numExperts / routing.groups());
  }

  boolean together(int expert, int other) {
    return expert / size == other / size;
  }

  /** Returns whether an expert may go where each group retains its share in the end. */
  boolean mayDrop(Collection<Integer> kept, int expert, int retained) {
    return kept.stream().filter(other -> together(expert, other)).count() > retained / groups;
  }

  /** Returns how many choices drop this many; {@code Long.MAX_VALUE} for more than that. */
  long choices(int dropped) {
    return LongMath.saturatedPow(LongMath.binomial(size, dropped / groups), groups);
  }

  /** Returns all choices that drop this many, in lexicographic order. */
  Iterable<Collection<Integer>> dropping(int dropped) {
    List<List<Set<Integer>>> ofGroups = new ArrayList<>();
    for (int group = 0; group < groups; group++) {
      ContiguousSet<Integer> experts =
          ContiguousSet.create(
              Range.closedOpen(group * size, (group + 1) * size), DiscreteDomain.integers());
      if (groups == 1) {
        return Iterables.transform(Sets.combinations(experts, dropped), set -> set);
      }
      ofGroups.add(List.copyOf(Sets.combinations(experts, dropped / groups)));
    }
    return Iterables.transform(
        Lists.cartesianProduct(ofGroups), sets -> sets.stream().flatMap(Set::stream).toList());
  }

  /** Returns the first experts of an order, equally many of each group, ascending. */
  public List<Integer> first(List<Integer> order, int retained) {
    int[] taken = new int[groups];
    return order.stream()
        .filter(expert -> taken[expert / size]++ < retained / groups)
        .sorted()
        .toList();
  }

  /** Returns the experts with the highest scores, ascending; of equal scores the lower index. */
  public List<Integer> highest(double[] scores, int retained) {
    List<Integer> order =
        IntStream.range(0, scores.length)
            .boxed()
            .sorted(Comparator.comparingDouble((Integer expert) -> -scores[expert]))
            .toList();
    return first(order, retained);
  }

  /** Returns experts by lot, ascending. The seed and the layer's number decide. */
  public List<Integer> drawn(int layer, int retained, long seed) {
    List<Integer> experts = new ArrayList<>(IntStream.range(0, groups * size).boxed().toList());
    Collections.shuffle(experts, new Random(mix(seed, layer)));
    return first(experts, retained);
  }

  /** Neighbouring seeds of {@link Random} draw alike, so that every layer would lose the same. */
  private static long mix(long seed, int layer) {
    return Hashing.murmur3_128().newHasher().putLong(seed).putInt(layer).hash().asLong();
  }
}
