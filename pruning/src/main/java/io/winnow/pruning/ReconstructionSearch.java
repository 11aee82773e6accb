package io.winnow.pruning;

import io.winnow.core.InvalidInputException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * NAEE's search for the subset with the least reconstruction loss (arXiv 2402.14800, section 3.2,
 * equation 3), on inner products instead of runs of the layer.
 */
final class ReconstructionSearch implements PruningMethod {
  static final long DEFAULT_SUBSET_LIMIT = 20_000;

  private static final int RANDOM_STARTS = 2;

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
    int dropped = layer.numExperts() - retained;
    ExpertGroups groups = ExpertGroups.of(layer.routing(), layer.numExperts());
    boolean exact = groups.choices(dropped) <= subsetLimit;
    Losses losses = new Losses(layer);
    if (exact) {
      for (Collection<Integer> subset : groups.dropping(dropped)) {
        losses.of(subset);
      }
    } else {
      descend(losses, layer, groups, retained, seed);
    }
    List<SubsetLoss> ordered = losses.ofSize(dropped);
    SubsetLoss best = ordered.get(0);
    return new Choice(layer.others(best.dropped()), exact, exact ? ordered : ordered.subList(0, 2));
  }

  /**
   * Backward elimination, then exchanges of one dropped for one kept expert, from several starts.
   * Where groups must stay equally large, nothing is eliminated one by one: on the way they are
   * not; exchanges are within a group.
   */
  private static void descend(
      Losses losses, LayerCalibration layer, ExpertGroups groups, int retained, long seed) {
    int dropped = layer.numExperts() - retained;
    List<List<Integer>> starts = new ArrayList<>();
    if (groups.areFree()) {
      Set<Integer> eliminated = new TreeSet<>();
      while (eliminated.size() < dropped) {
        eliminated = new TreeSet<>(losses.best(additions(layer, eliminated)).dropped());
      }
      starts.add(List.copyOf(eliminated));
    }
    starts.add(layer.others(PruningMethod.frequency().choose(layer, retained, seed).retained()));
    for (int i = 0; i < RANDOM_STARTS; i++) {
      starts.add(layer.others(PruningMethod.random().choose(layer, retained, seed + i).retained()));
    }
    for (List<Integer> start : starts) {
      SubsetLoss current = losses.of(start);
      while (true) {
        SubsetLoss next = losses.best(exchanges(layer, groups, current.dropped()));
        if (next.compareTo(current) >= 0) {
          break;
        }
        current = next;
      }
    }
  }

  private static List<Collection<Integer>> additions(
      LayerCalibration layer, Collection<Integer> dropped) {
    List<Collection<Integer>> sets = new ArrayList<>();
    for (int expert : layer.others(List.copyOf(dropped))) {
      Set<Integer> set = new TreeSet<>(dropped);
      set.add(expert);
      sets.add(set);
    }
    return sets;
  }

  private static List<Collection<Integer>> exchanges(
      LayerCalibration layer, ExpertGroups groups, List<Integer> dropped) {
    List<Collection<Integer>> sets = new ArrayList<>();
    for (int restored : dropped) {
      for (int expert : layer.others(dropped)) {
        if (!groups.together(restored, expert)) {
          continue;
        }
        Set<Integer> set = new TreeSet<>(dropped);
        set.remove(restored);
        set.add(expert);
        sets.add(set);
      }
    }
    return sets;
  }

  /** The losses computed so far. */
  private static final class Losses {
    private final LayerCalibration layer;
    private final Map<List<Integer>, SubsetLoss> known = new HashMap<>();

    Losses(LayerCalibration layer) {
      this.layer = layer;
    }

    SubsetLoss of(Collection<Integer> subset) {
      ExpertPruner.checkInterrupt();
      List<Integer> dropped = subset.stream().sorted().toList();
      return known.computeIfAbsent(
          dropped, key -> new SubsetLoss(key, layer.loss(layer.others(key))));
    }

    SubsetLoss best(Collection<Collection<Integer>> subsets) {
      return Collections.min(subsets.stream().map(this::of).toList());
    }

    /** Returns those that drop this many, best first. */
    List<SubsetLoss> ofSize(int dropped) {
      return known.values().stream()
          .filter(loss -> loss.dropped().size() == dropped)
          .sorted()
          .toList();
    }
  }
}
