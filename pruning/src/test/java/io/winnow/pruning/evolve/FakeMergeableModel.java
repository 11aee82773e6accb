package io.winnow.pruning.evolve;

import ai.djl.ndarray.NDArray;
import io.winnow.core.ExpertMerge;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeModel;
import io.winnow.core.Routing;
import io.winnow.core.TokenSequences;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A model whose layers only remember the merge that they run with. Decoder layers 0, 2, 4, ... */
final class FakeMergeableModel implements MoeModel {
  final List<Layer> layers = new ArrayList<>();

  FakeMergeableModel(int layers, int experts, int topK) {
    for (int i = 0; i < layers; i++) {
      this.layers.add(new Layer(2 * i, experts, SoftmaxRouting.of(topK, true)));
    }
  }

  @Override
  public List<Layer> moeLayers() {
    return layers;
  }

  @Override
  public int vocabularySize() {
    return 1;
  }

  @Override
  public int maxPositions() {
    return 1;
  }

  @Override
  public void forward(TokenSequences sequences, ForwardObserver observer) {
    throw new UnsupportedOperationException();
  }

  /** Remembers. */
  static final class Layer implements MergeableMoeLayer {
    private final int index;
    private final int experts;
    private final Routing routing;
    @Nullable ExpertMerge merge;
    int topK;
    int applied;
    boolean broken;

    Layer(int index, int experts, Routing routing) {
      this.index = index;
      this.experts = experts;
      this.routing = routing;
    }

    @Override
    public int layerIndex() {
      return index;
    }

    @Override
    public int numExperts() {
      return experts;
    }

    @Override
    public Routing routing() {
      return routing;
    }

    @Override
    public void applyMerge(ExpertMerge newMerge, int newTopK) {
      applied++;
      if (broken) {
        throw new InvalidInputException("broken");
      }
      merge = newMerge;
      topK = newTopK;
    }

    @Override
    public void undoMerge() {
      merge = null;
    }

    @Override
    public NDArray routerLogits(NDArray hidden) {
      throw new UnsupportedOperationException();
    }

    @Override
    public NDArray expertOutput(int expert, NDArray hidden) {
      throw new UnsupportedOperationException();
    }

    @Override
    public void retain(int... retained) {
      throw new UnsupportedOperationException();
    }
  }
}
