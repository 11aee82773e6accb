package io.winnow.examples;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Activation;
import ai.djl.nn.core.Linear;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RouterHooks;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * A host application's own model, over its own arrays, made ready to be pruned and to skip experts:
 * here an embedding, one layer of experts {@code down(silu(gate x) * up x)}, and logits by the
 * embedding. It knows nothing of Winnow's decoder. Closing the arrays' manager closes it.
 */
public final class HostModel implements MoeModel, MoeLayerView {
  private final NDArray embedding;
  private final Routing routing;
  private final RouterHooks hooks = new RouterHooks();
  private NDArray router;
  private List<NDList> experts;

  /** Creates a model over the caller's arrays; each expert is its gate, up and down. */
  public HostModel(NDArray embedding, NDArray router, Routing routing, List<NDList> experts) {
    this.embedding = embedding;
    this.router = router;
    this.routing = routing;
    this.experts = experts;
  }

  @Override
  public List<MoeLayerView> moeLayers() {
    return List.of(this);
  }

  @Override
  public int vocabularySize() {
    return (int) embedding.getShape().get(0);
  }

  @Override
  public int maxPositions() {
    return Integer.MAX_VALUE;
  }

  @Override
  public void forward(TokenSequences sequences, ForwardObserver observer) {
    try (NDArray ids = embedding.getManager().create(sequences.flatten(0, sequences.count()));
        NDArray hidden = embedding.get(ids)) {
      if (observer.onInput(this, hidden)) {
        layerOutput(hidden, observer).close(); // A model with more layers would go on with it.
      }
    }
  }

  /**
   * Computes the logits of every token, with the hooks that are installed.
   *
   * @return {@code [sequences * length, vocabularySize]} float32; the caller closes it
   */
  public NDArray logits(TokenSequences sequences) {
    try (NDArray ids = embedding.getManager().create(sequences.flatten(0, sequences.count()));
        NDArray hidden = embedding.get(ids);
        NDArray output = layerOutput(hidden, new ForwardObserver() {});
        NDArray sum = hidden.add(output)) {
      return Linear.linear(sum, embedding).singletonOrThrow();
    }
  }

  /** Hooks, such as of a skip policy, are asked after routing, and an observer before them. */
  @Override
  public RouterHooks routerHooks() {
    return hooks;
  }

  private NDArray layerOutput(NDArray hidden, ForwardObserver observer) {
    NDArray replaced = observer.routedOutput(this, hidden);
    if (replaced != null) {
      return replaced;
    }
    float[] logits;
    try (NDArray array = routerLogits(hidden)) {
      logits = array.toFloatArray();
    }
    RoutingDecision routed = routing.route(logits, numExperts());
    RoutingDecision decision = hooks.apply(this, logits, observer.onRouting(this, logits, routed));
    NDArray output = hidden.getManager().zeros(hidden.getShape());
    long[][] tokens = decision.tokensByExpert(numExperts());
    for (int expert = 0; expert < tokens.length; expert++) {
      if (tokens[expert].length > 0) { // A skipped expert is not evaluated.
        addExpert(output, hidden, expert, tokens[expert], decision);
      }
    }
    return output;
  }

  private void addExpert(
      NDArray output, NDArray hidden, int expert, long[] tokens, RoutingDecision decision) {
    float[] weights = new float[tokens.length];
    for (int i = 0; i < weights.length; i++) {
      weights[i] = decision.weightOf((int) tokens[i], expert);
    }
    NDManager manager = hidden.getManager();
    try (NDArray rows = manager.create(tokens);
        NDArray input = hidden.get(rows);
        NDArray result = expertOutput(expert, input);
        NDArray factors = manager.create(weights, new Shape(weights.length, 1));
        NDArray sum = output.get(rows)) {
      output.set(new NDIndex("{}", rows), sum.addi(result.muli(factors)));
    }
  }

  @Override
  public int layerIndex() {
    return 0;
  }

  @Override
  public int numExperts() {
    return experts.size();
  }

  @Override
  public Routing routing() {
    return routing;
  }

  @Override
  public NDArray routerLogits(NDArray hidden) {
    return Linear.linear(hidden, router).singletonOrThrow();
  }

  @Override
  public NDArray expertOutput(int expert, NDArray hidden) {
    NDList weights = experts.get(expert);
    try (NDArray gated = Linear.linear(hidden, weights.get(0)).singletonOrThrow();
        NDArray up = Linear.linear(hidden, weights.get(1)).singletonOrThrow();
        NDArray product = Activation.sigmoid(gated).muli(gated).muli(up)) {
      return Linear.linear(product, weights.get(2)).singletonOrThrow();
    }
  }

  @Override
  public void retain(int... retained) {
    List<NDList> all = experts;
    experts = Arrays.stream(retained).mapToObj(all::get).toList();
    IntStream.range(0, all.size())
        .filter(expert -> Arrays.binarySearch(retained, expert) < 0)
        .forEach(expert -> all.get(expert).close());
    try (NDArray whole = router;
        NDArray rows = whole.getManager().create(retained)) {
      router = whole.get(rows);
    }
  }
}
