package io.winnow.pruning.internal.search;

import com.google.common.collect.Iterables;
import io.winnow.core.InvalidInputException;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.LossEvaluator;
import io.winnow.pruning.internal.work.Tasks;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Stream;

/**
 * NAEE's search for the subset with the least reconstruction loss (arXiv 2402.14800, section 3.2,
 * equation 3), on inner products instead of runs of the layer.
 */
public final class SubsetSearch {
  /** So many subsets are looked at one by one where the caller has not said how many. */
  public static final long DEFAULT_SUBSET_LIMIT = 20_000;

  /** Scores by which the walk's first subsets are chosen. */
  private static final List<Function<InnerProductTable, double[]>> STARTS =
      List.of(
          ActivationScores::reap,
          InnerProductTable::selectionCounts,
          InnerProductTable::softActivation,
          ActivationScores::leaveOneOut);

  private static final int RANDOM_STARTS = 2;

  /** Rounds of disturbing the best subset so far, and how often each does so. */
  private static final int ROUNDS = 2;

  private static final int DISTURBANCES = 6;

  /** Subsets that one task looks at. */
  private static final int SUBSETS_PER_TASK = 2048;

  private final long subsetLimit;

  /**
   * Creates a search.
   *
   * @param subsetLimit the greatest number of subsets to look at one by one, and of branches of a
   *     proof
   * @throws InvalidInputException if it is less than 1
   */
  public SubsetSearch(long subsetLimit) {
    if (subsetLimit < 1) {
      throw new InvalidInputException("The limit of subsets must be at least 1, is " + subsetLimit);
    }
    this.subsetLimit = subsetLimit;
  }

  /**
   * What was found.
   *
   * @param retained the experts of the best subset, ascending
   * @param exact whether no other subset is better
   * @param losses of the subsets that were looked at, best first
   */
  public record Result(List<Integer> retained, boolean exact, List<ScoredSubset> losses) {}

  /**
   * Searches a layer.
   *
   * @param executor runs parts of the work; the result is the same on any
   */
  public Result search(InnerProductTable table, int retained, long seed, Executor executor) {
    int dropped = table.numExperts() - retained;
    EqualGroups groups = EqualGroups.of(table.routing(), table.numExperts());
    if (groups.choices(dropped) <= subsetLimit) {
      List<ScoredSubset> losses = enumerate(table, groups.dropping(dropped), executor);
      boolean exact = table.candidates() == table.numExperts();
      return new Result(table.others(losses.get(0).dropped()), exact, losses);
    }
    List<ScoredSubset> found = descend(table, groups, retained, seed, executor);
    OptimalityProof.Result proof = OptimalityProof.of(table, found.get(0), subsetLimit);
    List<ScoredSubset> best = bestTwo(found, List.of(List.of(proof.best())));
    return new Result(table.others(best.get(0).dropped()), proof.proved(), best);
  }

  private static List<ScoredSubset> enumerate(
      InnerProductTable table, Iterable<Collection<Integer>> subsets, Executor executor) {
    List<Supplier<List<ScoredSubset>>> tasks = new ArrayList<>();
    for (List<Collection<Integer>> part : Iterables.partition(subsets, SUBSETS_PER_TASK)) {
      tasks.add(
          () -> {
            List<List<Integer>> dropped =
                part.stream().map(subset -> subset.stream().sorted().toList()).toList();
            double[] values =
                new LossEvaluator(table).losses(dropped.stream().map(table::retaining).toList());
            List<ScoredSubset> losses = new ArrayList<>();
            for (int i = 0; i < values.length; i++) {
              losses.add(new ScoredSubset(dropped.get(i), values[i]));
            }
            return losses;
          });
    }
    return Tasks.run(executor, tasks).stream().flatMap(List::stream).sorted().toList();
  }

  /**
   * Backward elimination and other methods' choices, each followed by exchanges of pairs; then some
   * random exchanges in the best subset so far, followed by the same, where a descent is cheap.
   */
  private static List<ScoredSubset> descend(
      InnerProductTable table, EqualGroups groups, int retained, long seed, Executor executor) {
    List<Supplier<List<ScoredSubset>>> tasks = new ArrayList<>();
    tasks.add(
        () -> {
          SubsetDescent descent = new SubsetDescent(table, groups);
          return descent.descend(descent.eliminate(retained));
        });
    for (Function<InnerProductTable, double[]> scores : STARTS) {
      tasks.add(() -> descendFrom(table, groups, groups.highest(scores.apply(table), retained)));
    }
    for (int i = 0; i < RANDOM_STARTS; i++) {
      long drawn = seed + i;
      tasks.add(
          () -> descendFrom(table, groups, groups.drawn(table.layerIndex(), retained, drawn)));
    }
    List<ScoredSubset> best = bestTwo(List.of(), Tasks.run(executor, tasks));
    int rounds = table.routing().weighting().isPresent() ? ROUNDS : 0;
    for (int round = 0; round < rounds; round++) {
      List<Integer> start = best.get(0).dropped();
      tasks.clear();
      for (int i = 0; i < DISTURBANCES; i++) {
        int exchanges = 2 + i % 2;
        long drawn = seed * ROUNDS * DISTURBANCES + round * DISTURBANCES + i;
        tasks.add(
            () -> {
              SubsetDescent descent = new SubsetDescent(table, groups);
              return descent.descend(descent.disturb(start, exchanges, drawn));
            });
      }
      best = bestTwo(best, Tasks.run(executor, tasks));
    }
    return best;
  }

  private static List<ScoredSubset> bestTwo(
      List<ScoredSubset> known, List<List<ScoredSubset>> found) {
    return Stream.concat(known.stream(), found.stream().flatMap(List::stream))
        .sorted()
        .distinct()
        .limit(2)
        .toList();
  }

  private static List<ScoredSubset> descendFrom(
      InnerProductTable table, EqualGroups groups, List<Integer> retained) {
    return new SubsetDescent(table, groups).descend(table.others(retained));
  }
}
