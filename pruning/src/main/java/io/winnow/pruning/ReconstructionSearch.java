package io.winnow.pruning;

import io.winnow.pruning.internal.search.SubsetSearch;
import java.util.List;
import java.util.concurrent.Executor;

/** NAEE's search for the subset with the least reconstruction loss. */
final class ReconstructionSearch implements PruningMethod {
  private final SubsetSearch search;

  ReconstructionSearch(long subsetLimit) {
    search = new SubsetSearch(subsetLimit);
  }

  @Override
  public String name() {
    return "reconstruction";
  }

  @Override
  public boolean needsExpertOutputs() {
    return true;
  }

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed) {
    return choose(layer, retained, seed, Runnable::run);
  }

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed, Executor executor) {
    SubsetSearch.Result found = search.search(layer.table(), retained, seed, executor);
    List<SubsetLoss> losses = found.losses().stream().map(SubsetLoss::of).toList();
    return new Choice(found.retained(), found.exact(), losses);
  }
}
