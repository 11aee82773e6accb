package io.winnow.examples;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import io.winnow.skipping.SkipPolicy;

/**
 * How a host application skips experts inside its own inference loop: it asks the policy after
 * routing, and evaluates what remains.
 */
public final class OwnInferenceLoop {
  private final MoeLayerView layer;
  private final SkipPolicy policy;

  /** Creates the loop of one layer. */
  public OwnInferenceLoop(MoeLayerView layer, SkipPolicy policy) {
    this.layer = layer;
    this.policy = policy;
  }

  /**
   * Computes the layer's output.
   *
   * @param manager owns the result
   * @param hidden {@code [tokens, hiddenSize]} float32
   * @return {@code [tokens, hiddenSize]} float32
   */
  public NDArray forward(NDManager manager, NDArray hidden) {
    float[] logits;
    try (NDArray array = layer.routerLogits(hidden)) {
      logits = array.toFloatArray();
    }
    RoutingDecision routed = layer.routing().route(logits, layer.numExperts());
    RoutingDecision remaining = policy.apply(layer.layerIndex(), layer.routing(), routed);

    NDArray output = manager.zeros(hidden.getShape());
    for (int token = 0; token < remaining.tokens(); token++) {
      for (int rank = 0; rank < remaining.topK(); rank++) {
        int expert = remaining.expert(token, rank);
        if (expert != RoutingDecision.NONE) { // A skipped expert is not evaluated at all.
          try (NDManager scratch = manager.newSubManager()) {
            NDArray row = hidden.get(token).reshape(new Shape(1, -1));
            row.attach(scratch);
            NDArray result = layer.expertOutput(expert, row);
            result.attach(scratch);
            NDArray place = output.get(token + ":" + (token + 1));
            place.attach(scratch);
            NDArray weighted = result.mul(remaining.weight(token, rank));
            weighted.attach(scratch);
            place.addi(weighted);
          }
        }
      }
    }
    return output;
  }
}
