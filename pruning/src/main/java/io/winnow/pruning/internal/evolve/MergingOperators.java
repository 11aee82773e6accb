package io.winnow.pruning.internal.evolve;

import io.winnow.core.ExpertMerge;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * The operators of EEP's merging phase (arXiv 2407.00945): both matrices are real-valued and
 * independent; mutation adds Gaussian noise to each element, crossover mixes the rows of two
 * parents.
 *
 * <p>Three things are added to the paper. Mutation begins in few directions: how much a row of W_EM
 * holds of the expert it started from, of those that are dropped, and of those that other rows
 * started from, and by how much its score counts. These decide most, all rows alike (hence a part
 * of the noise is theirs in common); and few directions are learned from few evaluations, and carry
 * over to other text. Noise of each element, the paper's mutation, follows when the directions have
 * been evaluated a few times each. A {@link Surrogate} recombines everything evaluated: the point
 * where it expects most is evaluated, and mutants of points between the best and that one. W_RM
 * stays at 0 or above: a negative score could make the sum that the top-k is divided by negative,
 * which on other text than the search's means nonsense.
 */
public final class MergingOperators implements Operators {
  private static final double SIGMA_DECAY = 0.95;
  private static final double SMALL_NOISE = 0.3;
  private static final int EVALUATIONS_PER_DIRECTION = 3;
  private static final int NEIGHBOURS = 200;
  private static final int PARENTS = 8;
  private static final int CROSSOVERS = 50;
  private static final int CROSSOVER_PLACE = 9;
  private static final int STEPS = 60;
  private static final double SMALLEST_STEP = 1e-4;

  private static final double[] SCALES = {300, 70, 20, 1200, 5000};

  /** How far from the best to the expected best, by place in the generation. */
  private static final double[] FRACTIONS = {1, 1, 0.7, 1, 1, 1.3, 1, 1, 1, 1};

  private final Shape shape;
  private final List<List<ExpertMerge>> start;
  private final int rows;
  private final int columns;
  private final MergeNoise noise;

  /**
   * Creates operators.
   *
   * @param start the merges of at least one individual, around the first of which the search goes
   */
  public MergingOperators(Shape shape, List<List<ExpertMerge>> start) {
    this.shape = shape;
    this.start = List.copyOf(start);
    rows = 2 * shape.groups() * shape.retained();
    columns = shape.numExperts();
    noise = new MergeNoise(shape, flatten(start.get(0)));
  }

  @Override
  public List<List<ExpertMerge>> next(List<Evaluated> history, int count, Random random) {
    Set<List<ExpertMerge>> seen = new LinkedHashSet<>();
    history.forEach(one -> seen.add(one.groups()));
    Set<List<ExpertMerge>> chosen = new LinkedHashSet<>();
    if (history.isEmpty()) {
      start.stream().limit(count).forEach(chosen::add);
      double[] first = flatten(start.get(0));
      while (chosen.size() < count) {
        chosen.add(merges(noise.plusNoise(first, 1, false, random)));
      }
    } else {
      propose(history, count, random, seen, chosen);
    }
    return List.copyOf(chosen);
  }

  private void propose(
      List<Evaluated> history,
      int count,
      Random random,
      Set<List<ExpertMerge>> seen,
      Set<List<ExpertMerge>> chosen) {
    double[] best = flatten(Operators.best(history, Evaluated::fitness).groups());
    double[] bestFeatures = noise.features(best);
    List<Neighbour> neighbours =
        history.stream()
            .map(one -> Neighbour.of(noise.features(flatten(one.groups())), one, bestFeatures))
            .sorted(Comparator.comparingDouble(Neighbour::distance)) // Stable.
            .limit(NEIGHBOURS)
            .toList();
    Surrogate surrogate =
        Surrogate.fit(
            neighbours.stream().map(Neighbour::features).toArray(double[][]::new),
            neighbours.stream().mapToDouble(one -> one.evaluated().fitness()).toArray(),
            SCALES);
    double sigma = Math.max(0.1, StrictMath.pow(SIGMA_DECAY, (double) history.size() / count));
    boolean byElement = history.size() >= EVALUATIONS_PER_DIRECTION * 2 * rows;
    double[] expected = ascend(best, surrogate, sigma);
    for (int place = 0; chosen.size() < count; place++) {
      double[] child;
      if (place == 0) {
        child = expected;
      } else if (place % FRACTIONS.length == CROSSOVER_PLACE) {
        child = crossover(history, surrogate, sigma, byElement, random);
      } else {
        double fraction = FRACTIONS[place % FRACTIONS.length];
        double[] between = new double[best.length];
        for (int i = 0; i < between.length; i++) {
          between[i] = best[i] + fraction * (expected[i] - best[i]);
        }
        double factor = sigma * (place % 2 == 1 ? SMALL_NOISE : 1);
        child = noise.plusNoise(between, factor, byElement, random);
      }
      List<ExpertMerge> merges = merges(child);
      if (!seen.contains(merges)) {
        chosen.add(merges);
      }
    }
  }

  /** An evaluated individual, and how far it is from the best. */
  private record Neighbour(double[] features, Evaluated evaluated, double distance) {
    static Neighbour of(double[] features, Evaluated evaluated, double[] best) {
      return new Neighbour(features, evaluated, Surrogate.squaredDistance(features, best));
    }
  }

  /** The most promising of many children of two good parents, with a little noise. */
  private double[] crossover(
      List<Evaluated> history,
      Surrogate surrogate,
      double sigma,
      boolean byElement,
      Random random) {
    List<double[]> parents =
        IntStream.range(0, history.size())
            .boxed()
            .sorted(Comparator.comparingDouble(i -> -history.get(i).fitness()))
            .limit(PARENTS)
            .map(i -> flatten(history.get(i).groups()))
            .toList();
    double[] best = parents.get(0);
    double bestMean = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < CROSSOVERS; i++) {
      double[] child = parents.get(random.nextInt(parents.size())).clone();
      double[] other = parents.get(random.nextInt(parents.size()));
      for (int row = 0; row < rows; row++) {
        if (random.nextBoolean()) {
          System.arraycopy(other, row * columns, child, row * columns, columns);
        }
      }
      double mean = surrogate.mean(noise.features(child));
      if (mean > bestMean) {
        best = child;
        bestMean = mean;
      }
    }
    return noise.plusNoise(best, SMALL_NOISE * sigma, byElement, random);
  }

  /** Climbs from the best to where the surrogate expects most, in steps of the noise's shape. */
  private double[] ascend(double[] from, Surrogate surrogate, double sigma) {
    double[] at = from;
    double value = surrogate.mean(noise.features(at));
    double step = 1;
    for (int i = 0; i < STEPS && step > SMALLEST_STEP; i++) {
      double[] gradient = noise.elements(surrogate.gradient(noise.features(at)));
      double[] direction = noise.spread(gradient);
      double norm = 0;
      for (int j = 0; j < gradient.length; j++) {
        norm += gradient[j] * direction[j];
      }
      double length = sigma / Math.max(1e-12, Math.sqrt(norm));
      for (; step > SMALLEST_STEP; step /= 2) {
        double[] next = at.clone();
        for (int j = 0; j < next.length; j++) {
          next[j] += step * length * direction[j];
        }
        noise.clampRouter(next);
        double expected = surrogate.mean(noise.features(next));
        if (expected > value) {
          at = next;
          value = expected;
          step *= 2;
          break;
        }
      }
    }
    return at;
  }

  private double[] flatten(List<ExpertMerge> groups) {
    double[] elements = new double[rows * columns];
    int row = 0;
    for (ExpertMerge merge : groups) {
      for (double[][] matrix : List.of(merge.routerMapping(), merge.expertMerging())) {
        for (double[] values : matrix) {
          System.arraycopy(values, 0, elements, row++ * columns, columns);
        }
      }
    }
    return elements;
  }

  private List<ExpertMerge> merges(double[] elements) {
    List<ExpertMerge> merges = new ArrayList<>();
    for (int group = 0; group < shape.groups(); group++) {
      merges.add(ExpertMerge.of(matrix(elements, 2 * group), matrix(elements, 2 * group + 1)));
    }
    return List.copyOf(merges);
  }

  private double[][] matrix(double[] elements, int number) {
    double[][] matrix = new double[shape.retained()][columns];
    for (int row = 0; row < matrix.length; row++) {
      int from = (number * shape.retained() + row) * columns;
      System.arraycopy(elements, from, matrix[row], 0, columns);
    }
    return matrix;
  }
}
