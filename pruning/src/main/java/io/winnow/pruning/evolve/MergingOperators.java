package io.winnow.pruning.evolve;

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
 * <p>Three things are added to the paper. Noise of W_EM has a part that a whole row shares, because
 * experts are alike, so that the fitness depends most on how much of all of them a row holds. A
 * {@link Surrogate} recombines everything evaluated: the point where it expects most is evaluated,
 * and mutants of points between the best and that one. W_RM stays at 0 or above: a negative score
 * could make the sum that the top-k is divided by negative, which on other text than the search's
 * means nonsense.
 */
final class MergingOperators implements Operators {
  private static final double SIGMA_ROUTER = 0.05;
  private static final double SIGMA_EXPERT = 0.01;
  private static final double SIGMA_EXPERT_ROW = 0.015;
  private static final double SIGMA_DECAY = 0.97;
  private static final double SMALL_NOISE = 0.3;
  private static final int NEIGHBOURS = 200;
  private static final int PARENTS = 8;
  private static final int CROSSOVERS = 50;
  private static final int CROSSOVER_PLACE = 9;
  private static final int STEPS = 60;
  private static final double SMALLEST_STEP = 1e-4;

  /** Weights of features: what a change of an element, and of a row's sum, means to the fitness. */
  private static final double ROUTER = 0.1;

  private static final double EXPERT = 1;
  private static final double EXPERT_ROW = 0.3;
  private static final double[] SCALES = {0.18, 0.08, 0.02, 0.005, 0.5, 2};

  /** How far from the best to the expected best, by place in the generation. */
  private static final double[] FRACTIONS = {1, 1, 0.7, 1, 1, 1.3, 1, 1, 1, 1};

  private final SearchSpace space;
  private final List<Individual> start;
  private final int rows;
  private final int columns;

  MergingOperators(SearchSpace space, List<Individual> start) {
    this.space = space;
    this.start = List.copyOf(start);
    rows = 2 * space.groups() * space.retained();
    columns = space.numExperts();
  }

  @Override
  public List<Individual> next(List<EvaluatedIndividual> history, int count, Random random) {
    Set<Individual> seen = new LinkedHashSet<>();
    history.forEach(one -> seen.add(one.individual()));
    Set<Individual> chosen = new LinkedHashSet<>();
    if (history.isEmpty()) {
      start.stream().limit(count).forEach(chosen::add);
      double[] first = flatten(start.get(0));
      while (chosen.size() < count) {
        chosen.add(individual(plusNoise(first, 1, random)));
      }
    } else {
      propose(history, count, random, seen, chosen);
    }
    return List.copyOf(chosen);
  }

  private void propose(
      List<EvaluatedIndividual> history,
      int count,
      Random random,
      Set<Individual> seen,
      Set<Individual> chosen) {
    double[] best = flatten(Operators.best(history).individual());
    double[] bestFeatures = features(best);
    List<Neighbour> neighbours =
        history.stream()
            .map(one -> Neighbour.of(features(flatten(one.individual())), one, bestFeatures))
            .sorted(Comparator.comparingDouble(Neighbour::distance)) // Stable.
            .limit(NEIGHBOURS)
            .toList();
    Surrogate surrogate =
        Surrogate.fit(
            neighbours.stream().map(Neighbour::features).toArray(double[][]::new),
            neighbours.stream().mapToDouble(one -> one.evaluated().fitness()).toArray(),
            SCALES);
    double sigma = Math.max(0.1, StrictMath.pow(SIGMA_DECAY, (double) history.size() / count));
    double[] expected = ascend(best, surrogate, sigma);
    for (int place = 0; chosen.size() < count; place++) {
      double[] child;
      if (place == 0) {
        child = expected;
      } else if (place % FRACTIONS.length == CROSSOVER_PLACE) {
        child = crossover(history, surrogate, sigma, random);
      } else {
        double fraction = FRACTIONS[place % FRACTIONS.length];
        double[] between = new double[best.length];
        for (int i = 0; i < between.length; i++) {
          between[i] = best[i] + fraction * (expected[i] - best[i]);
        }
        child = plusNoise(between, sigma * (place % 2 == 1 ? SMALL_NOISE : 1), random);
      }
      Individual individual = individual(child);
      if (!seen.contains(individual)) {
        chosen.add(individual);
      }
    }
  }

  /** An evaluated individual, and how far it is from the best. */
  private record Neighbour(double[] features, EvaluatedIndividual evaluated, double distance) {
    static Neighbour of(double[] features, EvaluatedIndividual evaluated, double[] best) {
      return new Neighbour(features, evaluated, Surrogate.squaredDistance(features, best));
    }
  }

  /** The most promising of many children of two good parents, with a little noise. */
  private double[] crossover(
      List<EvaluatedIndividual> history, Surrogate surrogate, double sigma, Random random) {
    List<double[]> parents =
        IntStream.range(0, history.size())
            .boxed()
            .sorted(Comparator.comparingDouble(i -> -history.get(i).fitness()))
            .limit(PARENTS)
            .map(i -> flatten(history.get(i).individual()))
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
      double mean = surrogate.mean(features(child));
      if (mean > bestMean) {
        best = child;
        bestMean = mean;
      }
    }
    return plusNoise(best, SMALL_NOISE * sigma, random);
  }

  /** Climbs from the best to where the surrogate expects most, in steps of the noise's shape. */
  private double[] ascend(double[] from, Surrogate surrogate, double sigma) {
    double[] at = from;
    double value = surrogate.mean(features(at));
    double step = 1;
    for (int i = 0; i < STEPS && step > SMALLEST_STEP; i++) {
      double[] gradient = elements(surrogate.gradient(features(at)));
      double[] direction = spread(gradient);
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
        clampRouter(next);
        double expected = surrogate.mean(features(next));
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

  private double[] plusNoise(double[] at, double sigma, Random random) {
    double[] child = at.clone();
    for (int row = 0; row < rows; row++) {
      boolean router = isRouter(row);
      double shared = router ? 0 : SIGMA_EXPERT_ROW * random.nextGaussian();
      for (int column = 0; column < columns; column++) {
        double own = (router ? SIGMA_ROUTER : SIGMA_EXPERT) * random.nextGaussian();
        child[row * columns + column] += sigma * (shared + own);
      }
    }
    clampRouter(child);
    return child;
  }

  private void clampRouter(double[] elements) {
    for (int row = 0; row < rows; row++) {
      for (int i = row * columns; isRouter(row) && i < (row + 1) * columns; i++) {
        elements[i] = Math.max(0, elements[i]);
      }
    }
  }

  /** The covariance of the noise times a vector. */
  private double[] spread(double[] gradient) {
    double[] result = new double[gradient.length];
    for (int row = 0; row < rows; row++) {
      double own = isRouter(row) ? SIGMA_ROUTER : SIGMA_EXPERT;
      double shared =
          isRouter(row) ? 0 : SIGMA_EXPERT_ROW * SIGMA_EXPERT_ROW * rowSum(gradient, row);
      for (int i = row * columns; i < (row + 1) * columns; i++) {
        result[i] = own * own * gradient[i] + shared;
      }
    }
    return result;
  }

  private double rowSum(double[] elements, int row) {
    double sum = 0;
    for (int i = row * columns; i < (row + 1) * columns; i++) {
      sum += elements[i];
    }
    return sum;
  }

  /** Weighted elements, then the weighted sum of each row of W_EM. */
  private double[] features(double[] elements) {
    double[] features = new double[elements.length + rows];
    for (int row = 0; row < rows; row++) {
      double weight = isRouter(row) ? ROUTER : EXPERT;
      for (int i = row * columns; i < (row + 1) * columns; i++) {
        features[i] = weight * elements[i];
      }
      features[elements.length + row] = isRouter(row) ? 0 : EXPERT_ROW * rowSum(elements, row);
    }
    return features;
  }

  /** The gradient by the elements, of one by the features. */
  private double[] elements(double[] features) {
    double[] gradient = new double[rows * columns];
    for (int row = 0; row < rows; row++) {
      double weight = isRouter(row) ? ROUTER : EXPERT;
      double shared = isRouter(row) ? 0 : EXPERT_ROW * features[gradient.length + row];
      for (int i = row * columns; i < (row + 1) * columns; i++) {
        gradient[i] = weight * features[i] + shared;
      }
    }
    return gradient;
  }

  /** Rows lie group after group: first those of W_RM, then those of W_EM. */
  private boolean isRouter(int row) {
    return row / space.retained() % 2 == 0;
  }

  private double[] flatten(Individual individual) {
    double[] elements = new double[rows * columns];
    int row = 0;
    for (ExpertMerge merge : individual.groups()) {
      for (double[][] matrix : List.of(merge.routerMapping(), merge.expertMerging())) {
        for (double[] values : matrix) {
          System.arraycopy(values, 0, elements, row++ * columns, columns);
        }
      }
    }
    return elements;
  }

  private Individual individual(double[] elements) {
    List<ExpertMerge> merges = new ArrayList<>();
    for (int group = 0; group < space.groups(); group++) {
      merges.add(ExpertMerge.of(matrix(elements, 2 * group), matrix(elements, 2 * group + 1)));
    }
    return new Individual(merges, space.topK());
  }

  private double[][] matrix(double[] elements, int number) {
    double[][] matrix = new double[space.retained()][columns];
    for (int row = 0; row < matrix.length; row++) {
      int from = (number * space.retained() + row) * columns;
      System.arraycopy(elements, from, matrix[row], 0, columns);
    }
    return matrix;
  }
}
