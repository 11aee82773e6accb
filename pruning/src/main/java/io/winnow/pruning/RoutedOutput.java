package io.winnow.pruning;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What the routed experts of a layer give, computed by running those that are selected. */
final class RoutedOutput {
  private RoutedOutput() {}

  /**
   * Returns the output, row-major {@code [tokens, hiddenSize]}.
   *
   * @param hidden the layer's input {@code [tokens, hiddenSize]}
   * @param retained the experts that are left, ascending; null for all
   */
  static double[] of(MoeLayerView layer, NDArray hidden, @Nullable List<Integer> retained) {
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
    for (int expert = 0; expert < layer.numExperts(); expert++) {
      List<Integer> tokens = new ArrayList<>();
      List<Float> weights = new ArrayList<>();
      for (int token = 0; token < decision.tokens(); token++) {
        for (int rank = 0; rank < decision.topK(); rank++) {
          if (decision.expert(token, rank) == expert) {
            tokens.add(token);
            weights.add(decision.weight(token, rank));
          }
        }
      }
      if (tokens.isEmpty()) {
        continue;
      }
      float[] rows;
      try (NDManager scratch = hidden.getManager().newSubManager()) {
        long[] places = tokens.stream().mapToLong(Integer::longValue).toArray();
        NDArray input = hidden.get(scratch.create(places));
        input.attach(scratch);
        NDArray result = layer.expertOutput(expert, input);
        result.attach(scratch);
        rows = result.toFloatArray();
      }
      for (int i = 0; i < tokens.size(); i++) {
        int at = tokens.get(i) * width;
        for (int j = 0; j < width; j++) {
          sums[at + j] += (double) weights.get(i) * rows[i * width + j];
        }
      }
    }
    return sums;
  }
}
