package io.winnow.pruning.shrink;

import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerSize;
import io.winnow.core.LayerwiseModel;
import io.winnow.pruning.internal.search.RetainedNumber;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;

/** How many experts of how many channels layers keep. */
final class Sizes {
  private Sizes() {}

  /** Returns the size of all layers where all keep the same number of experts and channels. */
  static Map<Integer, LayerSize> uniform(LayerwiseModel model, int experts, int width) {
    Map<Integer, LayerSize> sizes = new TreeMap<>();
    for (LayerwiseModel.MoeLayer layer : model.moeLayers()) {
      sizes.put(layer.layer(), new LayerSize(Math.min(experts, layer.numExperts()), width));
    }
    return sizes;
  }

  /** Returns the size of all layers as they are. */
  static Map<Integer, LayerSize> full(LayerwiseModel model) {
    return uniform(model, Integer.MAX_VALUE, model.intermediateSize());
  }

  static List<Integer> allExperts(LayerwiseModel.MoeLayer layer) {
    return IntStream.range(0, layer.numExperts()).boxed().toList();
  }

  /** Checks which experts a layer is to keep. */
  static void checkRetained(LayerwiseModel.MoeLayer layer, List<Integer> retained) {
    RetainedNumber.check(layer.layer(), layer.numExperts(), layer.routing(), retained.size());
    for (int i = 0; i < retained.size(); i++) {
      int expert = retained.get(i);
      if (expert < 0 || expert >= layer.numExperts() || (i > 0 && expert <= retained.get(i - 1))) {
        throw new InvalidInputException(
            String.format(
                "The experts %s to keep of layer %d are not ascending numbers from 0 to %d; was the"
                    + " plan made for another model?",
                retained, layer.layer(), layer.numExperts() - 1));
      }
    }
  }
}
