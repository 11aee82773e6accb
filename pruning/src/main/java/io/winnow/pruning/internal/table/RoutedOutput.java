package io.winnow.pruning.internal.table;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What the routed experts of a layer give, computed by running those that are selected. */
public final class RoutedOutput {
  private RoutedOutput() {}

  /**
   * Returns the output, row-major {@code [tokens, hiddenSize]}.
   *
   * @param hidden the layer's input {@code [tokens, hiddenSize]}
   * @param retained the experts that are left, ascending; null for all
   */
  public static double[] of(MoeLayerView layer, NDArray hidden, @Nullable List<Integer> retained) {
    int width = (int) hidden.getShape().get(1);
    float[] logits;
    try (NDArray array = layer.routerLogits(hidden)) {
      logits = array.toFloatArray();
    }
    RoutingDecision decision =
        retained == null
            ? layer.routing().route(logits, layer.numExperts())
            : layer
                .routing()
                .routeAmong(
                    logits,
                    layer.numExperts(),
                    retained.stream().mapToInt(Integer::intValue).toArray());
    double[] sums = new double[decision.tokens() * width];
    long[][] tokensByExpert = decision.tokensByExpert(layer.numExperts());
    for (int expert = 0; expert < tokensByExpert.length; expert++) {
      long[] tokens = tokensByExpert[expert];
      if (tokens.length == 0) {
        continue;
      }
      float[] rows;
      try (NDManager scratch = hidden.getManager().newSubManager()) {
        NDArray input = hidden.get(scratch.create(tokens));
        input.attach(scratch);
        NDArray result = layer.expertOutput(expert, input);
        result.attach(scratch);
        rows = result.toFloatArray();
      }
      for (int i = 0; i < tokens.length; i++) {
        int token = (int) tokens[i];
        double weight = decision.weightOf(token, expert);
        for (int j = 0; j < width; j++) {
          sums[token * width + j] += weight * rows[i * width + j];
        }
      }
    }
    return sums;
  }
}
