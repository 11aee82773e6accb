package io.winnow.pruning.internal.shrink;

import java.util.List;

/**
 * What is to become of a layer.
 *
 * @param retained the experts that stay, ascending
 * @param width the channels that each keeps
 * @param channels which, for each expert that stays; empty to choose them by their energy
 */
public record LayerRecipe(List<Integer> retained, int width, List<List<Integer>> channels) {
  public LayerRecipe {
    retained = List.copyOf(retained);
    channels = channels.stream().map(List::copyOf).toList();
  }

  boolean cuts(int experts, int fullWidth) {
    return retained.size() < experts || width < fullWidth;
  }
}
