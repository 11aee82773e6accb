package io.winnow.pruning;

import java.util.function.BiFunction;

/** A host's own method. */
record OwnMethod(
    String name,
    boolean needsExpertOutputs,
    BiFunction<LayerCalibration, Integer, PruningMethod.Choice> choice)
    implements PruningMethod {

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed) {
    return choice.apply(layer, retained);
  }
}
