package io.winnow.pruning;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import java.util.ArrayList;
import java.util.List;

/** What the routed experts of a layer give, added up in float64 of the selected ones alone. */
final class RoutedOutput {
  private RoutedOutput() {}

  /**
   * Computes it.
   *
   * @param hidden the layer's input {@code [tokens, hiddenSize]}
   * @return the same shape, row-major
   */
  static float[] of(MoeLayerView layer, NDArray hidden) {
    int width = (int) hidden.getShape().get(1);
    float[] logits = CalibrationPass.logits(layer, hidden);
    RoutingDecision decision = layer.routing().route(logits, layer.numExperts());
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
    float[] result = new float[sums.length];
    for (int i = 0; i < sums.length; i++) {
      result[i] = (float) sums[i];
    }
    return result;
  }
}
