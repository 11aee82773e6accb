package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.primitives.Floats;
import com.google.common.primitives.Ints;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.routing.MappedRouting;
import io.winnow.core.routing.SoftmaxRouting;
import org.jspecify.annotations.Nullable;

/**
 * What leads tokens to the experts of one layer: the gate, and how its logits become the experts'
 * scores. Where a shared expert has a gate, its row is the last of {@link #fullGate}.
 */
final class ExpertRouter {
  private final DecoderRuntime runtime;
  private final int layer;
  private final @Nullable SharedExpert shared;
  private final String gateName;
  private Routing routing;
  private Weight gate;
  private float @Nullable [] bias;
  private @Nullable MappedRouting mapping;
  private int gateRows;
  private DeviceTensor fullGate;

  /**
   * Creates a router.
   *
   * @param numExperts the layer's routed experts
   * @param shared the experts that every token takes, or null
   */
  ExpertRouter(
      DecoderRuntime runtime,
      int layer,
      StoredRouter read,
      int numExperts,
      @Nullable SharedExpert shared) {
    this.runtime = runtime;
    this.layer = layer;
    this.shared = shared;
    gateName = read.gateName();
    routing = read.routing();
    gate = read.gate();
    bias = read.bias();
    mapping = read.mapping();
    gateRows = mapping == null ? numExperts : mapping.numExperts();
    fullGate = withShared();
  }

  /** Returns the gate's rows, and behind them that of the shared expert if it has one. */
  private DeviceTensor withShared() {
    if (shared == null || shared.gate() == null) {
      return gate.tensor();
    }
    NDArray rows = gate.tensor().array().concat(shared.gate().array(), 0);
    rows.attach(runtime.manager());
    return DeviceTensor.owning(rows);
  }

  /** Returns the gate's name in the checkpoint. */
  String gateName() {
    return gateName;
  }

  Weight gate() {
    return gate;
  }

  DeviceTensor fullGate() {
    return fullGate;
  }

  /** Returns what makes the experts' scores of the gate's, or null if they are the same. */
  @Nullable MappedRouting mapping() {
    return mapping;
  }

  /** Returns the routing without a merge. */
  Routing routing() {
    return mapping == null ? routing : mapping.merged();
  }

  /** Returns the routing of the gate's rows. */
  Routing ofGate() {
    return routing;
  }

  /**
   * Returns the routing without a merge, of which a merge makes another.
   *
   * @throws InvalidInputException if experts of this family are not merged
   */
  SoftmaxRouting mergeable() {
    if (routing() instanceof SoftmaxRouting softmax
        && shared == null
        && bias == null
        && runtime.isSingleExperts()) {
      return softmax;
    }
    throw new InvalidInputException(
        String.format(
            "The experts of layer %d are not merged: that needs softmax routing (here: %s), experts"
                + " with tensors of their own, and no shared experts",
            layer, routing()));
  }

  /**
   * Removes the other experts' rows.
   *
   * @param retained ascending
   */
  void retain(int... retained) {
    Routing pruned = routing.retain(retained);
    if (mapping == null) {
      Weight full = gate;
      DeviceTensor rows = full.tensor().rows(runtime.manager(), retained);
      if (fullGate != full.tensor()) {
        fullGate.close();
      }
      full.close();
      gate = Weight.of(gateName, rows, runtime.isTrainable());
      gateRows = retained.length;
      fullGate = withShared();
    } else {
      mapping = mapping.retain(retained);
    }
    if (bias != null) {
      float[] all = bias;
      bias = Floats.toArray(Ints.asList(retained).stream().map(i -> all[i]).toList());
    }
    routing = pruned;
  }

  /**
   * Returns the logits of the routed experts.
   *
   * @param ofGate of all rows of {@link #fullGate}, row-major
   */
  float[] logits(float[] ofGate) {
    float[] logits = routedColumns(ofGate);
    if (bias != null) {
      for (int i = 0; i < logits.length; i++) {
        logits[i] += bias[i % bias.length];
      }
    }
    return mapped(logits);
  }

  /** Returns the logits of the routed experts, which can be differentiated. */
  NDArray logits(NDArray ofGate) {
    return mapping == null
        ? ofGate
        : mapping.mappedLogits(ofGate, ofGate.getManager().create(mapping.mapping()).duplicate());
  }

  private float[] mapped(float[] logits) {
    return mapping == null ? logits : mapping.mappedLogits(logits, mapping.numExperts());
  }

  /** Computes the logits {@code [tokens, experts]} of hidden states {@code [tokens, d]}. */
  NDArray compute(NDArray hidden, int numExperts) {
    NDArray ofGate =
        runtime.inferenceKernel().routerLogits(hidden.getManager(), hidden, gate.tensor());
    if (bias != null) {
      try (NDArray unbiased = ofGate;
          NDArray addend = hidden.getManager().create(bias)) {
        ofGate = unbiased.add(addend);
      }
    }
    if (mapping == null) {
      return ofGate;
    }
    try (NDArray rows = ofGate) {
      return hidden
          .getManager()
          .create(mapped(rows.toFloatArray()), new Shape(hidden.getShape().get(0), numExperts));
    }
  }

  /** Returns the scores of one expert {@code [tokens]} by hidden states {@code [tokens, d]}. */
  float[] scores(NDArray hidden, int expert, int numExperts) {
    try (NDArray logits = compute(hidden, numExperts)) {
      float[] scores = routing.scores(logits.toFloatArray(), numExperts);
      float[] factors = new float[scores.length / numExperts];
      for (int token = 0; token < factors.length; token++) {
        factors[token] = scores[token * numExperts + expert];
      }
      return factors;
    }
  }

  /** Returns the logits without the last column, of a shared expert. */
  private float[] routedColumns(float[] ofGate) {
    if (shared == null || shared.gate() == null) {
      return ofGate;
    }
    int tokens = ofGate.length / (gateRows + 1);
    float[] columns = new float[tokens * gateRows];
    for (int token = 0; token < tokens; token++) {
      System.arraycopy(ofGate, token * (gateRows + 1), columns, token * gateRows, gateRows);
    }
    return columns;
  }

  /** Returns the weight of the shared expert for each token; null if there is none. */
  float @Nullable [] sharedWeights(float[] ofGate) {
    if (shared == null) {
      return null;
    }
    boolean gated = shared.gate() != null;
    int columns = gated ? gateRows + 1 : gateRows;
    float[] factors = new float[ofGate.length / columns];
    for (int token = 0; token < factors.length; token++) {
      factors[token] =
          gated ? (float) (1 / (1 + Math.exp(-(double) ofGate[token * columns + gateRows]))) : 1;
    }
    return factors;
  }

  /** Returns what the inputs of the selected experts are multiplied by, {@code [tokens, topK]}. */
  static float[] inputFactors(
      Routing routing, float[] logits, int numExperts, RoutingDecision decision) {
    float[] scores = routing.scores(logits, numExperts);
    float[] factors = new float[decision.tokens() * decision.topK()];
    for (int i = 0; i < factors.length; i++) {
      int token = i / decision.topK();
      int expert = decision.expert(token, i % decision.topK());
      factors[i] = expert == RoutingDecision.NONE ? 1 : scores[token * numExperts + expert];
    }
    return factors;
  }

  /** A hook's mistake must not become an index outside a CUDA array, or a row with two writers. */
  RoutingDecision checked(RoutingDecision decision, int tokens, int available) {
    if (decision.tokens() != tokens) {
      throw new InvalidInputException(
          String.format(
              "The router hook returned a decision for %d tokens in layer %d, which has %d",
              decision.tokens(), layer, tokens));
    }
    for (int token = 0; token < tokens; token++) {
      for (int rank = 0; rank < decision.topK(); rank++) {
        int expert = decision.expert(token, rank);
        boolean repeated = false;
        for (int earlier = 0; earlier < rank; earlier++) {
          repeated |= expert != RoutingDecision.NONE && expert == decision.expert(token, earlier);
        }
        if (expert < RoutingDecision.NONE || expert >= available || repeated) {
          throw new InvalidInputException(
              String.format(
                  "The router hook gave token %d expert %d in layer %d, %s",
                  token,
                  expert,
                  layer,
                  repeated ? "which it has already" : "whose experts are 0 to " + (available - 1)));
        }
      }
    }
    return decision;
  }

  /** Returns the selected experts as int64 {@code [tokens, topK]}. */
  static NDArray selected(NDManager manager, RoutingDecision decision) {
    long[] ids = new long[decision.tokens() * decision.topK()];
    int[] selected = decision.experts();
    for (int i = 0; i < ids.length; i++) {
      ids[i] = selected[i];
    }
    // A copy in memory of PyTorch, which a graph to differentiate may keep.
    try (NDArray created = manager.create(ids, new Shape(decision.tokens(), decision.topK()))) {
      return created.duplicate();
    }
  }
}
