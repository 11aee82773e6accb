package io.winnow.skipping;

import java.util.List;

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
    return new Layer(-1, sum(0), sum(1), sum(2)).rate();
  }

  private long sum(int field) {
    return layers.stream()
        .mapToLong(
            layer ->
                switch (field) {
                  case 0 -> layer.tokens();
                  case 1 -> layer.selected();
                  default -> layer.skipped();
                })
        .sum();
  }
}
