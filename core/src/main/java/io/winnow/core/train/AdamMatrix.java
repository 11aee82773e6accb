package io.winnow.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A matrix that Adam (arXiv 1412.6980) trains. DJL's optimizer is not used: nobody closes the
 * arrays that it keeps.
 */
final class AdamMatrix {
  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.999;
  private static final double EPSILON = 1e-8;

  private final int rows;
  private final int columns;
  private final double rate;
  private final float[] elements;
  private final double[] mean;
  private final double[] variance;
  private @Nullable NDArray array;

  AdamMatrix(double[][] start, double rate) {
    rows = start.length;
    columns = start[0].length;
    this.rate = rate;
    elements = new float[rows * columns];
    mean = new double[elements.length];
    variance = new double[elements.length];
    for (int i = 0; i < elements.length; i++) {
      elements[i] = (float) start[i / columns][i % columns];
    }
  }

  int rows() {
    return rows;
  }

  double[][] matrix() {
    double[][] matrix = new double[rows][columns];
    for (int i = 0; i < elements.length; i++) {
      matrix[i / columns][i % columns] = elements[i];
    }
    return matrix;
  }

  /** Makes the array of this pass, which belongs to {@code scratch}. */
  void open(NDManager scratch, boolean withGradient) {
    NDArray created = scratch.create(elements, new Shape(rows, columns));
    created.setRequiresGradient(withGradient);
    array = created;
  }

  NDArray array() {
    return Objects.requireNonNull(array);
  }

  float[] gradient() {
    try (NDArray gradient = array().getGradient()) {
      return gradient.toFloatArray();
    }
  }

  void update(int step, double factor) {
    float[] slopes = gradient();
    double meanScale = 1 - Math.pow(BETA1, step);
    double varianceScale = 1 - Math.pow(BETA2, step);
    for (int i = 0; i < elements.length; i++) {
      mean[i] = BETA1 * mean[i] + (1 - BETA1) * slopes[i];
      variance[i] = BETA2 * variance[i] + (1 - BETA2) * slopes[i] * slopes[i];
      elements[i] -=
          (float)
              (rate
                  * factor
                  * (mean[i] / meanScale)
                  / (Math.sqrt(variance[i] / varianceScale) + EPSILON));
    }
  }
}
