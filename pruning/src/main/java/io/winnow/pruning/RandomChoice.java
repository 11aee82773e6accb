package io.winnow.pruning;

import io.winnow.pruning.internal.search.EqualGroups;
import java.util.List;

/** Keeps experts by lot. The seed and the layer's number decide. */
final class RandomChoice implements PruningMethod {
  @Override
  public String name() {
    return "random";
  }

  @Override
  public boolean needsCalibration() {
    return false;
  }

  @Override
  public boolean needsExpertOutputs() {
    return false;
  }

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed) {
    EqualGroups groups = EqualGroups.of(layer.routing(), layer.numExperts());
    return new Choice(groups.drawn(layer.layerIndex(), retained, seed), false, List.of());
  }
}
