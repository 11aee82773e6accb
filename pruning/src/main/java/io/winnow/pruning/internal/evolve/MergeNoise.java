package io.winnow.pruning.internal.evolve;

import java.util.Random;

/**
 * The noise of EEP's merging phase, and what elements of the matrices are in its units: by row in
 * few directions first, then element by element (see {@link MergingOperators}). Immutable.
 */
final class MergeNoise {
  private static final double SIGMA_ROUTER_OWN = 0.15;
  private static final double SIGMA_ROUTER_ELEMENT = 0.05;
  private static final double SIGMA_EXPERT_OWN = 0.05;
  private static final double SIGMA_EXPERT_OTHERS = 0.03;
  private static final double SIGMA_EXPERT_ELEMENT = 0.01;

  /** The part of a direction's noise that all rows of W_EM have in common. */
  private static final double SHARED = 0.7;

  /** How much a standard deviation of an element's noise counts beside one of a direction's. */
  private static final double ELEMENT = 0.3;

  private final int perMatrix; // r
  private final int rows;
  private final int columns;

  /**
   * By direction, and in it by row of W_RM and W_EM, a unit vector: what the row started from, the
   * experts that no row started from, and those that other rows started from. Zeros where there is
   * none.
   */
  private final double[][] directions;

  private final int length;

  /**
   * Creates noise around an individual.
   *
   * @param own its elements {@code [rows, columns]}; group after group first W_RM, then W_EM
   */
  MergeNoise(Shape shape, double[] own) {
    perMatrix = shape.retained();
    columns = shape.numExperts();
    rows = own.length / columns;
    length = own.length;
    double[] unused = new double[length];
    double[] others = new double[length];
    for (int row = 0; row < rows; row++) {
      int matrix = row / perMatrix * perMatrix;
      for (int column = 0; column < columns; column++) {
        double used = 0;
        for (int other = matrix; other < matrix + perMatrix; other++) {
          used = Math.max(used, Math.abs(own[other * columns + column]));
        }
        unused[row * columns + column] = Math.max(0, 1 - used);
        others[row * columns + column] = Math.min(1, used);
      }
    }
    directions = new double[][] {own.clone(), unused, others};
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

  /** Returns a mutant: with noise of so many times the usual deviation. */
  double[] plusNoise(double[] at, double sigma, boolean byElement, Random random) {
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

  /** Keeps W_RM at 0 or above. */
  void clampRouter(double[] elements) {
    for (int row = 0; row < rows; row++) {
      for (int i = row * columns; isRouter(row) && i < (row + 1) * columns; i++) {
        elements[i] = Math.max(0, elements[i]);
      }
    }
  }

  /** The covariance of the noise times a vector. */
  double[] spread(double[] gradient) {
    return elements(features(gradient, true), true);
  }

  /** Returns what a surrogate sees of an individual. */
  double[] features(double[] elements) {
    return features(elements, false);
  }

  /** The transposed of {@link #features(double[])}. */
  double[] elements(double[] features) {
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
    return row / perMatrix % 2 == 0;
  }
}
