package io.winnow.pruning;

import com.google.common.collect.Iterables;
import io.winnow.core.InvalidInputException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.function.Supplier;
import java.util.stream.Stream;

/**
 * NAEE's search for the subset with the least reconstruction loss (arXiv 2402.14800, section 3.2,
 * equation 3), on inner products instead of runs of the layer.
 */
final class ReconstructionSearch implements PruningMethod {
  static final long DEFAULT_SUBSET_LIMIT = 20_000;

  private static final List<PruningMethod> STARTS =
      List.of(
          PruningMethod.reap(),
          PruningMethod.frequency(),
          PruningMethod.softActivation(),
          PruningMethod.leaveOneOut());

  private static final int RANDOM_STARTS = 2;

  /** Rounds of disturbing the best subset so far, and how often each does so. */
  private static final int ROUNDS = 2;

  private static final int DISTURBANCES = 6;

  /** Subsets that one task looks at. */
  private static final int SUBSETS_PER_TASK = 2048;

  private final long subsetLimit;

  ReconstructionSearch(long subsetLimit) {
    if (subsetLimit < 1) {
      throw new InvalidInputException("The limit of subsets must be at least 1, is " + subsetLimit);
    }
    this.subsetLimit = subsetLimit;
  }

  @Override
  public String name() {
    return "reconstruction";
  }

  @Override
  public boolean needsExpertOutputs() {
    return true;
  }

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed) {
    return choose(layer, retained, seed, Runnable::run);
  }

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed, Executor executor) {
    int dropped = layer.numExperts() - retained;
    ExpertGroups groups = ExpertGroups.of(layer.routing(), layer.numExperts());
    if (groups.choices(dropped) <= subsetLimit) {
      List<SubsetLoss> losses = enumerate(layer, groups.dropping(dropped), executor);
      boolean exact = layer.candidates() == layer.numExperts();
      return new Choice(layer.others(losses.get(0).dropped()), exact, losses);
    }
    List<SubsetLoss> found = descend(layer, groups, retained, seed, executor);
    OptimalityProof.Result proof = OptimalityProof.of(layer, found.get(0), subsetLimit);
    List<SubsetLoss> best = bestTwo(found, List.of(List.of(proof.best())));
    return new Choice(layer.others(best.get(0).dropped()), proof.proved(), best);
  }

  private static List<SubsetLoss> enumerate(
      LayerCalibration layer, Iterable<Collection<Integer>> subsets, Executor executor) {
    List<Supplier<List<SubsetLoss>>> tasks = new ArrayList<>();
    for (List<Collection<Integer>> part : Iterables.partition(subsets, SUBSETS_PER_TASK)) {
      tasks.add(
          () -> {
            List<List<Integer>> dropped =
                part.stream().map(subset -> subset.stream().sorted().toList()).toList();
            double[] values =
                new LossEvaluator(layer).losses(dropped.stream().map(layer::retaining).toList());
            List<SubsetLoss> losses = new ArrayList<>();
            for (int i = 0; i < values.length; i++) {
              losses.add(new SubsetLoss(dropped.get(i), values[i]));
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
  private static List<SubsetLoss> descend(
      LayerCalibration layer, ExpertGroups groups, int retained, long seed, Executor executor) {
    List<Supplier<List<SubsetLoss>>> tasks = new ArrayList<>();
    tasks.add(
        () -> {
          SubsetDescent descent = new SubsetDescent(layer, groups);
          return descent.descend(descent.eliminate(retained));
        });
    for (PruningMethod method : STARTS) {
      tasks.add(() -> descendFrom(layer, groups, method.choose(layer, retained, seed)));
    }
    for (int i = 0; i < RANDOM_STARTS; i++) {
      long drawn = seed + i;
      tasks.add(
          () -> descendFrom(layer, groups, PruningMethod.random().choose(layer, retained, drawn)));
    }
    List<SubsetLoss> best = bestTwo(List.of(), Tasks.run(executor, tasks));
    int rounds = layer.routing().weighting().isPresent() ? ROUNDS : 0;
    for (int round = 0; round < rounds; round++) {
      List<Integer> start = best.get(0).dropped();
      tasks.clear();
      for (int i = 0; i < DISTURBANCES; i++) {
        int exchanges = 2 + i % 2;
        long drawn = seed * ROUNDS * DISTURBANCES + round * DISTURBANCES + i;
        tasks.add(
            () -> {
              SubsetDescent descent = new SubsetDescent(layer, groups);
              return descent.descend(descent.disturb(start, exchanges, drawn));
            });
      }
      best = bestTwo(best, Tasks.run(executor, tasks));
    }
    return best;
  }

  private static List<SubsetLoss> bestTwo(List<SubsetLoss> known, List<List<SubsetLoss>> found) {
    return Stream.concat(known.stream(), found.stream().flatMap(List::stream))
        .sorted()
        .distinct()
        .limit(2)
        .toList();
  }

  private static List<SubsetLoss> descendFrom(
      LayerCalibration layer, ExpertGroups groups, Choice start) {
    return new SubsetDescent(layer, groups).descend(layer.others(start.retained()));
  }
}
