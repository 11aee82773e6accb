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
final class MergingOperators implements Operators {
  private static final double SIGMA_ROUTER_OWN = 0.15;
  private static final double SIGMA_ROUTER_ELEMENT = 0.05;
  private static final double SIGMA_EXPERT_OWN = 0.05;
  private static final double SIGMA_EXPERT_OTHERS = 0.03;
  private static final double SIGMA_EXPERT_ELEMENT = 0.01;

  /** The part of a direction's noise that all rows of W_EM have in common. */
  private static final double SHARED = 0.7;

  private static final double SIGMA_DECAY = 0.95;
  private static final double SMALL_NOISE = 0.3;
  private static final int EVALUATIONS_PER_DIRECTION = 3;
  private static final int NEIGHBOURS = 200;
  private static final int PARENTS = 8;
  private static final int CROSSOVERS = 50;
  private static final int CROSSOVER_PLACE = 9;
  private static final int STEPS = 60;
  private static final double SMALLEST_STEP = 1e-4;

  /** How much a standard deviation of an element's noise counts beside one of a direction's. */
  private static final double ELEMENT = 0.3;

  private static final double[] SCALES = {300, 70, 20, 1200, 5000};

  /** How far from the best to the expected best, by place in the generation. */
  private static final double[] FRACTIONS = {1, 1, 0.7, 1, 1, 1.3, 1, 1, 1, 1};

  private final SearchSpace space;
  private final List<Individual> start;
  private final int rows;
  private final int columns;

  /**
   * By direction, and in it by row of W_RM and W_EM, a unit vector: what the row started from, the
   * experts that no row started from, and those that other rows started from. Zeros where there is
   * none.
   */
  private final double[][] directions;

  private final int length;

  MergingOperators(SearchSpace space, List<Individual> start) {
    this.space = space;
    this.start = List.copyOf(start);
    rows = 2 * space.groups() * space.retained();
    columns = space.numExperts();
    length = rows * columns;
    double[] own = flatten(start.get(0));
    double[] unused = new double[length];
    double[] others = new double[length];
    for (int row = 0; row < rows; row++) {
      int matrix = row / space.retained() * space.retained();
      for (int column = 0; column < columns; column++) {
        double used = 0;
        for (int other = matrix; other < matrix + space.retained(); other++) {
          used = Math.max(used, Math.abs(own[other * columns + column]));
        }
        unused[row * columns + column] = Math.max(0, 1 - used);
        others[row * columns + column] = Math.min(1, used);
      }
    }
    directions = new double[][] {own, unused, others};
    for (int row = 0; row < rows; row++) {
      for (int i = 0; i < directions.length; i++) {
        for (int j = 0; j < i; j++) {
          remove(directions[j], directions[i], row * columns);
        }
        normalize(directions[i], row * columns);
      }
    }
  }

  /** Takes from one row of vectors what it has in common with that of unit vectors. */
  private void remove(double[] units, double[] vectors, int from) {
    double common = dot(vectors, units, from);
    for (int i = from; i < from + columns; i++) {
      vectors[i] -= common * units[i];
    }
  }

  private void normalize(double[] vectors, int from) {
    double norm = Math.sqrt(dot(vectors, vectors, from));
    for (int i = from; i < from + columns; i++) {
      vectors[i] = norm > 1e-6 ? vectors[i] / norm : 0;
    }
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
        chosen.add(individual(plusNoise(first, 1, false, random)));
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
        double noise = sigma * (place % 2 == 1 ? SMALL_NOISE : 1);
        child = plusNoise(between, noise, byElement, random);
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
      List<EvaluatedIndividual> history,
      Surrogate surrogate,
      double sigma,
      boolean byElement,
      Random random) {
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
    return plusNoise(best, SMALL_NOISE * sigma, byElement, random);
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

  private double[] plusNoise(double[] at, double sigma, boolean byElement, Random random) {
    double[] child = at.clone();
    double[] shared = new double[directions.length];
    for (int i = 0; i < shared.length; i++) {
      shared[i] = random.nextGaussian();
    }
    for (int row = 0; row < rows; row++) {
      for (int direction = 0; direction < directions.length; direction++) {
        double noise = random.nextGaussian();
        if (!isRouter(row)) { // All scores times the same would change nothing.
          noise = SHARED * shared[direction] + Math.sqrt(1 - SHARED * SHARED) * noise;
        }
        double step = sigma * sigma(row, direction) * noise;
        for (int i = row * columns; i < (row + 1) * columns; i++) {
          child[i] += step * directions[direction][i];
        }
      }
      for (int i = row * columns; byElement && i < (row + 1) * columns; i++) {
        child[i] += sigma * sigmaElement(row) * random.nextGaussian();
      }
    }
    clampRouter(child);
    return child;
  }

  /** The deviation of the noise in a direction. */
  private double sigma(int row, int direction) {
    if (direction == 0) {
      return isRouter(row) ? SIGMA_ROUTER_OWN : SIGMA_EXPERT_OWN;
    }
    return isRouter(row) ? 0 : SIGMA_EXPERT_OTHERS;
  }

  private double sigmaElement(int row) {
    return isRouter(row) ? SIGMA_ROUTER_ELEMENT : SIGMA_EXPERT_ELEMENT;
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
    return elements(features(gradient, true), true);
  }

  private double[] features(double[] elements) {
    return features(elements, false);
  }

  private double[] elements(double[] features) {
    return elements(features, false);
  }

  /**
   * What remains of each element, and row by row what is held of each direction: in units of their
   * noise, so that directions count alike; or times it.
   */
  private double[] features(double[] elements, boolean times) {
    double[] features = new double[length + directions.length * rows];
    for (int row = 0; row < rows; row++) {
      int from = row * columns;
      double element = elementUnit(row, times);
      for (int i = from; i < from + columns; i++) {
        features[i] = element * elements[i];
      }
      for (int direction = 0; direction < directions.length; direction++) {
        double[] units = directions[direction];
        double held = dot(elements, units, from);
        for (int i = from; i < from + columns; i++) {
          features[i] -= element * held * units[i];
        }
        features[length + direction * rows + row] = held * unit(row, direction, times);
      }
    }
    return features;
  }

  /** The transposed of {@link #features(double[], boolean)}. */
  private double[] elements(double[] features, boolean times) {
    double[] elements = new double[length];
    for (int row = 0; row < rows; row++) {
      int from = row * columns;
      double element = elementUnit(row, times);
      for (int i = from; i < from + columns; i++) {
        elements[i] = element * features[i];
      }
      for (int direction = 0; direction < directions.length; direction++) {
        double[] units = directions[direction];
        double held =
            features[length + direction * rows + row] * unit(row, direction, times)
                - element * dot(features, units, from);
        for (int i = from; i < from + columns; i++) {
          elements[i] += held * units[i];
        }
      }
    }
    return elements;
  }

  private double unit(int row, int direction, boolean times) {
    double sigma = sigma(row, direction);
    return sigma == 0 ? elementUnit(row, times) : times ? sigma : 1 / sigma;
  }

  private double elementUnit(int row, boolean times) {
    return times ? sigmaElement(row) : ELEMENT / sigmaElement(row);
  }

  private double dot(double[] elements, double[] unit, int from) {
    double sum = 0;
    for (int i = from; i < from + columns; i++) {
      sum += elements[i] * unit[i];
    }
    return sum;
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
