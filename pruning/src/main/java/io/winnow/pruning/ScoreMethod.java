package io.winnow.pruning;

import io.winnow.pruning.internal.search.EqualGroups;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.util.List;
import java.util.function.Function;

/**
 * Keeps the experts with the highest score; of equal scores the lower index stays.
 *
 * @param scores returns the score of each expert
 */
record ScoreMethod(
    String name, boolean needsExpertOutputs, Function<InnerProductTable, double[]> scores)
    implements PruningMethod {

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed) {
    EqualGroups groups = EqualGroups.of(layer.routing(), layer.numExperts());
    List<Integer> best = groups.highest(scores.apply(layer.table()), retained);
    return new Choice(best, true, List.of());
  }
}
