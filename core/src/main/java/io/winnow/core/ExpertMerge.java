package io.winnow.core;

import static com.google.common.base.Preconditions.checkElementIndex;

import java.io.Serializable;
import java.util.Arrays;

/**
 * The two matrices by which EEP turns a layer's n experts into r: router mapping W_RM and expert
 * merging W_EM, both {@code [r, n]} (EEP, arXiv 2407.00945, section 3).
 *
 * <p>Scores of the merged layer are {@code W_RM softmax(logits)}, computed after the softmax over
 * all n experts and before the top-k; the weights of merged expert j are {@code sum_i W_EM[j, i]
 * theta_i}. A pruned layer is the special case in which both are the same and every row selects one
 * expert.
 *
 * <p>Immutable, serializable and thread-safe.
 */
public final class ExpertMerge implements Serializable {
  private static final long serialVersionUID = 1L;

  private final double[][] routerMapping;
  private final double[][] expertMerging;

  private ExpertMerge(double[][] routerMapping, double[][] expertMerging) {
    this.routerMapping = routerMapping;
    this.expertMerging = expertMerging;
  }

  /**
   * Creates a merge of two matrices, which are copied.
   *
   * @param routerMapping W_RM {@code [r, n]}
   * @param expertMerging W_EM {@code [r, n]}
   * @throws InvalidInputException if they are empty, not rectangular, of different shapes, have
   *     more rows than columns, or hold a number that is not finite
   */
  public static ExpertMerge of(double[][] routerMapping, double[][] expertMerging) {
    check("router mapping", routerMapping);
    check("expert merging", expertMerging);
    if (routerMapping.length != expertMerging.length
        || routerMapping[0].length != expertMerging[0].length) {
      throw new InvalidInputException(
          String.format(
              "The router mapping is [%d, %d] and the expert merging [%d, %d]; they must have one"
                  + " shape",
              routerMapping.length,
              routerMapping[0].length,
              expertMerging.length,
              expertMerging[0].length));
    }
    return new ExpertMerge(copy(routerMapping), copy(expertMerging));
  }

  /**
   * Creates the merge that only prunes: row j of both matrices selects expert {@code retained[j]}.
   *
   * @param numExperts n
   * @param retained the experts that stay, all different
   * @throws InvalidInputException if there are none, one is unknown or occurs twice
   */
  public static ExpertMerge ofRetained(int numExperts, int... retained) {
    double[][] rows = new double[retained.length][Math.max(0, numExperts)];
    boolean[] used = new boolean[Math.max(0, numExperts)];
    for (int row = 0; row < retained.length; row++) {
      int expert = retained[row];
      if (expert < 0 || expert >= numExperts || used[expert]) {
        throw new InvalidInputException(
            String.format(
                "The experts %s cannot be retained of %d: expert %d is unknown or occurs twice",
                Arrays.toString(retained), numExperts, expert));
      }
      used[expert] = true;
      rows[row][expert] = 1;
    }
    return of(rows, rows);
  }

  private static void check(String name, double[][] matrix) {
    if (matrix.length == 0 || matrix[0].length < matrix.length) {
      throw new InvalidInputException(
          String.format(
              "The %s is [%d, %d]; it needs [r, n] with r from 1 to n",
              name, matrix.length, matrix.length == 0 ? 0 : matrix[0].length));
    }
    for (int row = 0; row < matrix.length; row++) {
      if (matrix[row].length != matrix[0].length) {
        throw new InvalidInputException(
            String.format(
                "Row %d of the %s has %d elements, row 0 has %d",
                row, name, matrix[row].length, matrix[0].length));
      }
      for (int column = 0; column < matrix[row].length; column++) {
        if (!Double.isFinite(matrix[row][column])) {
          throw new InvalidInputException(
              String.format(
                  "Element [%d, %d] of the %s is %s; all must be finite",
                  row, column, name, matrix[row][column]));
        }
      }
    }
  }

  private static double[][] copy(double[][] matrix) {
    return Arrays.stream(matrix).map(double[]::clone).toArray(double[][]::new);
  }

  /** Returns r, the experts of the merged layer. */
  public int retained() {
    return routerMapping.length;
  }

  /** Returns n, the experts of the original layer. */
  public int numExperts() {
    return routerMapping[0].length;
  }

  /** Returns W_RM[row, expert]. */
  public double routerMapping(int row, int expert) {
    return element(routerMapping, row, expert);
  }

  /** Returns W_EM[row, expert]. */
  public double expertMerging(int row, int expert) {
    return element(expertMerging, row, expert);
  }

  private static double element(double[][] matrix, int row, int expert) {
    checkElementIndex(row, matrix.length, "row");
    checkElementIndex(expert, matrix[0].length, "expert");
    return matrix[row][expert];
  }

  /** Returns a copy of W_RM {@code [r, n]}. */
  public double[][] routerMapping() {
    return copy(routerMapping);
  }

  /** Returns a copy of W_EM {@code [r, n]}. */
  public double[][] expertMerging() {
    return copy(expertMerging);
  }

  /**
   * Returns whether the merge only prunes: every row of both matrices selects the same one expert
   * with weight 1, and no expert twice.
   */
  public boolean isPruning() {
    boolean[] used = new boolean[numExperts()];
    for (int row = 0; row < retained(); row++) {
      int selected = selected(routerMapping[row]);
      if (selected < 0
          || used[selected]
          || !Arrays.equals(routerMapping[row], expertMerging[row])) {
        return false;
      }
      used[selected] = true;
    }
    return true;
  }

  /**
   * Returns the experts that the rows select, in their order.
   *
   * @throws IllegalStateException if the merge does more than prune
   */
  public int[] retainedExperts() {
    if (!isPruning()) {
      throw new IllegalStateException("The merge mixes experts; no list of experts describes it");
    }
    return Arrays.stream(routerMapping).mapToInt(ExpertMerge::selected).toArray();
  }

  private static int selected(double[] row) {
    int selected = -1;
    for (int i = 0; i < row.length; i++) {
      if (row[i] == 1 && selected < 0) {
        selected = i;
      } else if (row[i] != 0) {
        return -1;
      }
    }
    return selected;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof ExpertMerge that
        && Arrays.deepEquals(routerMapping, that.routerMapping)
        && Arrays.deepEquals(expertMerging, that.expertMerging);
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.deepHashCode(routerMapping) + Arrays.deepHashCode(expertMerging);
  }

  @Override
  public String toString() {
    return isPruning()
        ? "ExpertMerge[retained=" + Arrays.toString(retainedExperts()) + "]"
        : "ExpertMerge[" + retained() + " of " + numExperts() + "]";
  }
}
