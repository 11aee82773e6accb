package io.winnow.skipping;

import java.util.List;
import java.util.function.ToLongFunction;

/**
 * What was skipped, layer by layer: an immutable snapshot.
 *
 * @param layers in the order of the layers
 */
public record SkipStatistics(List<Layer> layers) {
  /** Copies the list. */
  public SkipStatistics {
    layers = List.copyOf(layers);
  }

  /**
   * One layer.
   *
   * @param layer the number of the decoder layer
   * @param tokens tokens routed
   * @param selected experts selected for them
   * @param skipped how many of these were not evaluated
   */
  public record Layer(int layer, long tokens, long selected, long skipped) {
    /** Returns the share of the experts that could be skipped, k - 1 per token; 0 without any. */
    public double rate() {
      return selected == tokens ? 0 : (double) skipped / (selected - tokens);
    }
  }

  /** Returns the share of all layers together. */
  public double rate() {
    return new Layer(-1, sum(Layer::tokens), sum(Layer::selected), sum(Layer::skipped)).rate();
  }

  private long sum(ToLongFunction<Layer> field) {
    return layers.stream().mapToLong(field).sum();
  }
}
