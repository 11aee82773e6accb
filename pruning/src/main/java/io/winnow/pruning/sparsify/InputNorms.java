package io.winnow.pruning.sparsify;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.InvalidInputException;
import io.winnow.core.model.ExpertMatrix;
import java.util.Arrays;

/**
 * The L2 norms over tokens of what one expert's matrices multiply, added up in float64. Not
 * thread-safe while it is filled.
 */
final class InputNorms {
  private long tokens;
  private double[] input = {};
  private double[] intermediate = {};

  /**
   * Adds tokens.
   *
   * @param hidden what gate and up multiply, {@code [tokens, hiddenSize]}; its manager owns what is
   *     needed meanwhile
   * @param inner what down multiplies, {@code [tokens, intermediateSize]}, likewise
   * @param expert names it in messages
   */
  void add(NDArray hidden, NDArray inner, String expert) {
    input = sum(input, hidden, expert);
    intermediate = sum(intermediate, inner, expert);
    tokens += hidden.getShape().get(0);
  }

  private static double[] sum(double[] sums, NDArray rows, String expert) {
    double[] added =
        rows.toType(DataType.FLOAT64, false).square().sum(new int[] {0}).toDoubleArray();
    for (int i = 0; i < added.length; i++) {
      if (!Double.isFinite(added[i])) {
        throw new InvalidInputException(
            String.format(
                "Input %d of a matrix of %s is not finite: the model's weights are damaged",
                i, expert));
      }
      added[i] += sums.length == 0 ? 0 : sums[i];
    }
    return added;
  }

  /** Returns the number of tokens that are routed to the expert. */
  long tokens() {
    return tokens;
  }

  /** Returns the norm of each input of a matrix. */
  double[] of(ExpertMatrix matrix) {
    return Arrays.stream(matrix == ExpertMatrix.DOWN ? intermediate : input)
        .map(Math::sqrt)
        .toArray();
  }
}
