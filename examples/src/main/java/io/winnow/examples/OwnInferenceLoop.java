package io.winnow.examples;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.MoeLayerView;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.skipping.SkipPolicy;

/**
 * How a host application that runs layers itself skips experts: it routes a batch of tokens, asks
 * the policy, and evaluates each expert that is left once, on all of its tokens together. An expert
 * without tokens costs nothing.
 *
 * <p>Thread-safe, as far as no thread uses the other's arrays.
 */
public final class OwnInferenceLoop {
  private final MoeLayerView layer;
  private final SkipPolicy policy;

  /** Creates the loop of one layer; the layer stays the host's. */
  public OwnInferenceLoop(MoeLayerView layer, SkipPolicy policy) {
    this.layer = layer;
    this.policy = policy;
  }

  /**
   * Computes what the layer's routed experts add.
   *
   * @param manager owns the result
   * @param hidden the layer's input {@code [tokens, hiddenSize]}, float32, on the model's device;
   *     stays as it is
   * @return {@code [tokens, hiddenSize]} float32
   */
  public NDArray forward(NDManager manager, NDArray hidden) {
    float[] logits;
    try (NDArray array = layer.routerLogits(hidden)) {
      logits = array.toFloatArray();
    }
    Routing routing = layer.routing();
    int experts = layer.numExperts();
    RoutingDecision remaining =
        policy.apply(layer.layerIndex(), routing, routing.route(logits, experts));
    // Of a family whose routers scale inputs (Llama 4) the scores are factors, and all weights 1.
    float[] scores = routing.scalesInputs() ? routing.scores(logits, experts) : null;

    NDArray output = manager.zeros(hidden.getShape());
    long[][] tokens = remaining.tokensByExpert(experts);
    for (int expert = 0; expert < experts; expert++) {
      if (tokens[expert].length > 0) {
        float[] before = new float[tokens[expert].length];
        float[] after = new float[tokens[expert].length];
        for (int i = 0; i < before.length; i++) {
          int token = (int) tokens[expert][i];
          before[i] = scores == null ? 1 : scores[token * experts + expert];
          after[i] = remaining.weightOf(token, expert);
        }
        try (NDManager scratch = hidden.getManager().newSubManager()) {
          NDArray rows = scratch.create(tokens[expert]);
          NDArray input = attached(scratch, hidden.get(rows));
          if (scores != null) {
            input = attached(scratch, input.mul(column(scratch, before)));
          }
          NDArray result = attached(scratch, layer.expertOutput(expert, input));
          NDArray weighted = attached(scratch, result.mul(column(scratch, after)));
          NDArray sum = attached(scratch, output.get(rows));
          output.set(new NDIndex("{}", rows), sum.addi(weighted)); // No expert has a token twice.
        }
      }
    }
    return output;
  }

  private static NDArray attached(NDManager manager, NDArray array) {
    array.attach(manager); // Closed with it.
    return array;
  }

  private static NDArray column(NDManager manager, float[] values) {
    return manager.create(values, new Shape(values.length, 1));
  }
}
