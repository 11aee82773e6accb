package io.winnow.pruning.internal.evolve;

import java.util.Arrays;

/**
 * What evaluated individuals let expect of others: a Gaussian process over feature vectors with the
 * kernel {@code exp(-|a - b|^2 / scale)} and a constant mean, whose scale is the likeliest of a
 * few.
 *
 * <p>The papers' operators try offspring blindly; where an evaluation costs a pass of the model
 * over the task, thousands of offspring may be looked at first. Deterministic on every machine.
 * Immutable.
 */
final class Surrogate {
  /**
   * Added to the diagonal, so that individuals that are nearly equal leave it positive definite.
   */
  private static final double JITTER = 1e-6;

  private final double[][] features;
  private final double[] values;
  private final double scale;
  private final double[][] cholesky;
  private final double[] weights;
  private final double mean;
  private final double variance;
  private final double likelihood;

  private Surrogate(double[][] features, double[] values, double scale) {
    this.features = features;
    this.values = values;
    this.scale = scale;
    int n = values.length;
    double[][] kernel = new double[n][];
    for (int i = 0; i < n; i++) {
      kernel[i] = new double[i + 1];
      for (int j = 0; j < i; j++) {
        kernel[i][j] = kernel(features[i], features[j]);
      }
      kernel[i][i] = 1 + JITTER;
    }
    cholesky = decompose(kernel);
    double[] ones = new double[n];
    Arrays.fill(ones, 1);
    double[] byOnes = solve(ones);
    mean = dot(byOnes, values) / dot(byOnes, ones);
    double[] centred = new double[n];
    for (int i = 0; i < n; i++) {
      centred[i] = values[i] - mean;
    }
    weights = solve(centred);
    variance = Math.max(Double.MIN_NORMAL, dot(centred, weights) / n);
    double logDeterminant = 0;
    for (int i = 0; i < n; i++) {
      logDeterminant += StrictMath.log(cholesky[i][i]);
    }
    likelihood = -0.5 * n * StrictMath.log(variance) - logDeterminant;
  }

  /**
   * Fits values, of which hopeless ones are raised to what is just bad: how bad it was says nothing
   * about where the best is.
   *
   * @param features {@code [individuals, features]}, at least one individual
   * @param values {@code [individuals]}; negative infinity is allowed
   * @param scales of two equally likely ones the first is taken
   */
  static Surrogate fit(double[][] features, double[] values, double... scales) {
    double[] clipped = clip(values);
    Surrogate best = new Surrogate(features, clipped, scales[0]);
    for (int i = 1; i < scales.length; i++) {
      Surrogate other = new Surrogate(features, clipped, scales[i]);
      if (other.likelihood > best.likelihood) {
        best = other;
      }
    }
    return best;
  }

  private static double[] clip(double[] values) {
    double[] finite = Arrays.stream(values).filter(Double::isFinite).sorted().toArray();
    if (finite.length == 0) {
      return new double[values.length];
    }
    double best = finite[finite.length - 1];
    double low = best - 2 * (best - finite[finite.length / 10]);
    return Arrays.stream(values).map(value -> Math.max(value, low)).toArray();
  }

  /** Returns this surrogate after an individual that would be worth just what is expected. */
  Surrogate believing(double[] individual) {
    double[][] more = Arrays.copyOf(features, features.length + 1);
    more[features.length] = individual;
    double[] moreValues = Arrays.copyOf(values, values.length + 1);
    moreValues[values.length] = mean(individual);
    return new Surrogate(more, moreValues, scale);
  }

  /** Returns the expected fitness. */
  double mean(double[] individual) {
    double sum = mean;
    for (int i = 0; i < features.length; i++) {
      sum += weights[i] * kernel(features[i], individual);
    }
    return sum;
  }

  /** Returns how far the fitness may be from what is expected: one standard deviation. */
  double deviation(double[] individual) {
    double[] column = new double[features.length];
    for (int i = 0; i < column.length; i++) {
      column[i] = kernel(features[i], individual);
    }
    double[] half = forward(column);
    return Math.sqrt(variance * Math.max(0, 1 - dot(half, half)));
  }

  /** Returns the gradient of {@link #mean} by the features. */
  double[] gradient(double[] individual) {
    double[] gradient = new double[individual.length];
    for (int i = 0; i < features.length; i++) {
      double factor = -2 / scale * weights[i] * kernel(features[i], individual);
      for (int j = 0; j < gradient.length; j++) {
        gradient[j] += factor * (individual[j] - features[i][j]);
      }
    }
    return gradient;
  }

  private double kernel(double[] a, double[] b) {
    return StrictMath.exp(-squaredDistance(a, b) / scale);
  }

  static double squaredDistance(double[] a, double[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      double difference = a[i] - b[i];
      sum += difference * difference;
    }
    return sum;
  }

  /** Returns the lower triangle L with L L' = the matrix, whose lower triangle is given. */
  private static double[][] decompose(double[][] matrix) {
    double[][] lower = matrix;
    for (int i = 0; i < lower.length; i++) {
      for (int j = 0; j <= i; j++) {
        double sum = lower[i][j];
        for (int k = 0; k < j; k++) {
          sum -= lower[i][k] * lower[j][k];
        }
        lower[i][j] = i == j ? Math.sqrt(Math.max(sum, JITTER * JITTER)) : sum / lower[j][j];
      }
    }
    return lower;
  }

  private double[] forward(double[] right) {
    double[] solution = right.clone();
    for (int i = 0; i < solution.length; i++) {
      for (int k = 0; k < i; k++) {
        solution[i] -= cholesky[i][k] * solution[k];
      }
      solution[i] /= cholesky[i][i];
    }
    return solution;
  }

  private double[] solve(double[] right) {
    double[] solution = forward(right);
    for (int i = solution.length - 1; i >= 0; i--) {
      solution[i] /= cholesky[i][i];
      for (int k = 0; k < i; k++) {
        solution[k] -= cholesky[i][k] * solution[i];
      }
    }
    return solution;
  }

  private static double dot(double[] a, double[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += a[i] * b[i];
    }
    return sum;
  }
}
