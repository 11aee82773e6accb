package io.winnow.pruning.internal.evolve;

import io.winnow.core.ExpertMerge;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * The operators of EEP's pruning phase (arXiv 2407.00945): mutation replaces a retained expert by
 * an unused one, crossover mixes the retained experts of two parents. Rows stay distinct and
 * ascending.
 *
 * <p>Beyond the paper, each generation is chosen from many offspring by a {@link Surrogate}: where
 * it expects much, and where it knows little.
 */
public final class PruningOperators implements Operators {
  private static final double CROSSOVER = 0.3;
  private static final double ANOTHER_SWAP = 0.4;
  private static final double ANY_PARENT = 0.1;
  private static final int PARENTS = 8;
  private static final int OFFSPRING = 300;
  private static final int SWAPS_OF_START = 3;
  private static final int ATTEMPTS_PER_OFFSPRING = 20;

  /** The largest distance is 1: that of individuals that have no expert in common. */
  private static final double[] SCALES = {1, 0.25, 0.5, 2, 4};

  /** How much not knowing is worth, from one of a generation to the next. */
  private static final double[] CURIOSITY = {0, 0.5, 1, 1.5, 2};

  private final Shape shape;
  private final List<Subsets> start;

  /** A list of experts per group, ascending. */
  private record Subsets(List<List<Integer>> groups) {}

  /**
   * Creates operators.
   *
   * @param start the merges of individuals that only prune
   */
  public PruningOperators(Shape shape, List<List<ExpertMerge>> start) {
    this.shape = shape;
    this.start = start.stream().map(PruningOperators::subsets).distinct().toList();
  }

  private static Subsets subsets(List<ExpertMerge> groups) {
    return new Subsets(
        groups.stream()
            .map(merge -> Arrays.stream(merge.retainedExperts()).sorted().boxed().toList())
            .toList());
  }

  private List<ExpertMerge> merges(Subsets subsets) {
    return subsets.groups().stream()
        .map(
            experts ->
                ExpertMerge.ofRetained(
                    shape.numExperts(), experts.stream().mapToInt(i -> i).toArray()))
        .toList();
  }

  @Override
  public List<List<ExpertMerge>> next(List<Evaluated> history, int count, Random random) {
    Set<Subsets> chosen = history.isEmpty() ? first(count, random) : best(history, count, random);
    return chosen.stream().map(this::merges).toList();
  }

  /** The given ones, some in their neighbourhood, and some at random. */
  private Set<Subsets> first(int count, Random random) {
    Set<Subsets> chosen = new LinkedHashSet<>();
    for (int i = 0; i < Math.min(count, start.size()); i++) {
      chosen.add(start.get(i));
    }
    for (int i = 0; chosen.size() < count && i < count * ATTEMPTS_PER_OFFSPRING; i++) {
      Subsets one;
      if (start.isEmpty() || i % 3 == 0) {
        one = random(random);
      } else {
        one = start.get(i % start.size());
        for (int swap = 0; swap < SWAPS_OF_START; swap++) {
          one = mutate(one, random);
        }
      }
      chosen.add(one);
    }
    return chosen;
  }

  private Set<Subsets> best(List<Evaluated> history, int count, Random random) {
    List<Subsets> seen = history.stream().map(one -> subsets(one.groups())).toList();
    List<Subsets> parents =
        IntStream.range(0, seen.size())
            .boxed()
            .sorted(Comparator.comparingDouble(i -> -history.get(i).fitness())) // Stable.
            .limit(PARENTS)
            .map(seen::get)
            .toList();
    List<Subsets> offspring = offspring(seen, parents, random);
    double[] values = history.stream().mapToDouble(Evaluated::fitness).toArray();
    Surrogate surrogate =
        Surrogate.fit(seen.stream().map(this::features).toArray(double[][]::new), values, SCALES);
    List<double[]> features = offspring.stream().map(this::features).toList();
    Set<Subsets> chosen = new LinkedHashSet<>();
    while (chosen.size() < Math.min(count, offspring.size())) {
      double curiosity = CURIOSITY[chosen.size() % CURIOSITY.length];
      int best = -1;
      double bestValue = 0;
      for (int i = 0; i < offspring.size(); i++) {
        if (!chosen.contains(offspring.get(i))) {
          double value = surrogate.mean(features.get(i));
          value += curiosity == 0 ? 0 : curiosity * surrogate.deviation(features.get(i));
          if (best < 0 || value > bestValue) {
            best = i;
            bestValue = value;
          }
        }
      }
      chosen.add(offspring.get(best));
      surrogate = surrogate.believing(features.get(best));
    }
    return chosen;
  }

  private List<Subsets> offspring(List<Subsets> seen, List<Subsets> parents, Random random) {
    Set<Subsets> known = new HashSet<>(seen);
    List<Subsets> offspring = new ArrayList<>();
    for (int i = 0; offspring.size() < OFFSPRING && i < OFFSPRING * ATTEMPTS_PER_OFFSPRING; i++) {
      List<Subsets> from = random.nextDouble() < ANY_PARENT ? seen : parents;
      Subsets parent = from.get(random.nextInt(from.size()));
      Subsets child = parent;
      if (random.nextDouble() < CROSSOVER) {
        child = cross(child, parents.get(random.nextInt(parents.size())), random);
      }
      if (child.equals(parent) || random.nextBoolean()) {
        do {
          child = mutate(child, random);
        } while (random.nextDouble() < ANOTHER_SWAP);
      }
      if (known.add(child)) {
        offspring.add(child);
      }
    }
    return offspring;
  }

  private Subsets random(Random random) {
    List<List<Integer>> groups = new ArrayList<>();
    for (int group = 0; group < shape.groups(); group++) {
      List<Integer> all = new ArrayList<>(IntStream.range(0, shape.numExperts()).boxed().toList());
      Collections.shuffle(all, random);
      groups.add(all.subList(0, shape.retained()).stream().sorted().toList());
    }
    return new Subsets(groups);
  }

  /** Replaces one retained expert of one group by an unused one. */
  private Subsets mutate(Subsets parent, Random random) {
    int group = random.nextInt(shape.groups());
    List<Integer> experts = new ArrayList<>(parent.groups().get(group));
    List<Integer> unused =
        IntStream.range(0, shape.numExperts()).boxed().filter(i -> !experts.contains(i)).toList();
    if (unused.isEmpty()) {
      return parent;
    }
    experts.set(random.nextInt(experts.size()), unused.get(random.nextInt(unused.size())));
    Collections.sort(experts);
    List<List<Integer>> groups = new ArrayList<>(parent.groups());
    groups.set(group, List.copyOf(experts));
    return new Subsets(groups);
  }

  /** Keeps what both parents retain, and fills up with what one of them does. */
  private static Subsets cross(Subsets one, Subsets other, Random random) {
    List<List<Integer>> groups = new ArrayList<>();
    for (int group = 0; group < one.groups().size(); group++) {
      List<Integer> mine = one.groups().get(group);
      List<Integer> theirs = other.groups().get(group);
      List<Integer> child = new ArrayList<>(mine.stream().filter(theirs::contains).toList());
      List<Integer> rest = new ArrayList<>(mine.stream().filter(i -> !child.contains(i)).toList());
      rest.addAll(theirs.stream().filter(i -> !child.contains(i)).toList());
      Collections.shuffle(rest, random);
      child.addAll(rest.subList(0, mine.size() - child.size()));
      groups.add(child.stream().sorted().toList());
    }
    return new Subsets(groups);
  }

  /** One feature per group and expert; the squared distance is the share of experts that differ. */
  private double[] features(Subsets subsets) {
    double present = Math.sqrt(0.5 / (shape.retained() * shape.groups()));
    double[] features = new double[shape.groups() * shape.numExperts()];
    for (int group = 0; group < shape.groups(); group++) {
      for (int expert : subsets.groups().get(group)) {
        features[group * shape.numExperts() + expert] = present;
      }
    }
    return features;
  }
}
