package io.winnow.examples;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.nn.Activation;
import ai.djl.nn.core.Linear;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Routing;
import io.winnow.core.TokenSequences;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * A host application's own model, over its own arrays, made ready to be pruned: here an embedding
 * and one layer of experts {@code down(silu(gate x) * up x)}. It knows nothing of Winnow's decoder.
 */
public final class HostModel implements MoeModel, MoeLayerView {
  private final NDArray embedding;
  private final Routing routing;
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
      observer.onInput(this, hidden); // A real model would go on with the layer's output.
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
