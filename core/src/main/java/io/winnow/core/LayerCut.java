package io.winnow.core;

import ai.djl.ndarray.NDArray;
import java.util.List;

/**
 * What stays of a layer's experts, and what their last matrices become.
 *
 * @param retained the experts that stay, ascending
 * @param channels for each of them the channels that stay, ascending and equally many; empty where
 *     all experts keep all
 * @param down for each of them its new last matrix with a row for every channel that stays, {@code
 *     [channels, hiddenSize]} float32 on the CPU; empty to keep what is stored. They belong to who
 *     made them
 */
public record LayerCut(List<Integer> retained, List<List<Integer>> channels, List<NDArray> down) {
  public LayerCut {
    retained = List.copyOf(retained);
    channels = channels.stream().map(List::copyOf).toList();
    down = List.copyOf(down);
    if ((!channels.isEmpty() && channels.size() != retained.size())
        || (!down.isEmpty() && down.size() != retained.size())) {
      throw new InvalidInputException(
          String.format(
              "A cut of %d experts has the channels of %d and new matrices of %d; give those of"
                  + " every expert, or of none",
              retained.size(), channels.size(), down.size()));
    }
  }

  /** Returns a cut that removes experts and nothing else. */
  public static LayerCut ofExperts(List<Integer> retained) {
    return new LayerCut(retained, List.of(), List.of());
  }
}
