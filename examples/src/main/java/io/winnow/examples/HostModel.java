package io.winnow.examples;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Activation;
import ai.djl.nn.core.Linear;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Routing;
import io.winnow.core.SoftmaxRouting;
import io.winnow.core.TokenSequences;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A model of the host application's own, over its own arrays, made ready for Winnow: here an
 * embedding and one MoE layer whose experts are {@code down(silu(gate x) * up x)}.
 *
 * <p>It is all that pruning asks for; nothing here knows of Winnow's decoder.
 */
public final class HostModel implements MoeModel, MoeLayerView {
  private final NDManager manager;
  private final NDArray embedding;
  private final Routing routing;
  private final List<NDArray[]> experts = new ArrayList<>();
  private NDArray gate;

  /** Creates a model with seeded random weights; the manager owns them. */
  public HostModel(NDManager manager, int vocabulary, int hidden, int inner, int count, int topK) {
    this.manager = manager;
    routing = SoftmaxRouting.of(topK, true);
    embedding = random(vocabulary, hidden, 1);
    gate = random(count, hidden, 0.1f);
    for (int expert = 0; expert < count; expert++) {
      float scale = (float) (1 / Math.sqrt(hidden));
      experts.add(
          new NDArray[] {
            random(inner, hidden, scale), random(inner, hidden, scale), random(hidden, inner, scale)
          });
    }
  }

  /** Returns the layer's input for the whole vocabulary; it belongs to the given manager. */
  NDArray hidden(NDManager owner) {
    NDArray hidden = embedding.duplicate();
    hidden.attach(owner);
    return hidden;
  }

  private NDArray random(int rows, int columns, float scale) {
    return manager.randomNormal(new Shape(rows, columns)).muli(scale);
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
    try (NDManager scratch = manager.newSubManager()) {
      NDArray hidden = embedding.get(scratch.create(sequences.flatten(0, sequences.count())));
      hidden.attach(scratch);
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
    return Linear.linear(hidden, gate).singletonOrThrow();
  }

  @Override
  public NDArray expertOutput(int expert, NDArray hidden) {
    NDArray[] weights = experts.get(expert);
    try (NDArray gated = Linear.linear(hidden, weights[0]).singletonOrThrow();
        NDArray up = Linear.linear(hidden, weights[1]).singletonOrThrow();
        NDArray product = Activation.sigmoid(gated)) {
      return Linear.linear(product.muli(gated).muli(up), weights[2]).singletonOrThrow();
    }
  }

  @Override
  public void retain(int... retained) {
    try (NDArray rows = manager.create(Arrays.stream(retained).asLongStream().toArray())) {
      NDArray kept = gate.get(rows);
      gate.close();
      gate = kept;
    }
    List<NDArray[]> all = List.copyOf(experts);
    experts.clear();
    for (int expert : retained) {
      experts.add(all.get(expert));
    }
    all.stream().filter(e -> !experts.contains(e)).flatMap(Arrays::stream).forEach(NDArray::close);
  }
}
