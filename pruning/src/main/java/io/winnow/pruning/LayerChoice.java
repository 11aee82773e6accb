package io.winnow.pruning;

import com.google.common.base.Stopwatch;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.util.OptionalDouble;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;

/** Lets a method choose what a layer retains, and measures what that loses. */
final class LayerChoice {
  private LayerChoice() {}

  /**
   * Chooses.
   *
   * @param executor runs parts of the search; null for the calling thread alone
   * @param time the running time of the layer, which is stopped
   */
  static PruningReport.Layer of(
      PruningMethod method,
      InnerProductTable seen,
      int retained,
      long seed,
      @Nullable Executor executor,
      Stopwatch time) {
    PruningMethod.Choice choice =
        method.choose(
            new LayerCalibration(seen),
            retained,
            seed,
            executor == null ? Runnable::run : executor);
    OptionalDouble loss = OptionalDouble.empty();
    OptionalDouble relative = OptionalDouble.empty();
    long truncated = 0;
    if (seen.hasExpertOutputs()) {
      double value = seen.loss(choice.retained());
      double norm = seen.targetNorm();
      loss = OptionalDouble.of(value);
      relative = OptionalDouble.of(norm == 0 ? 0 : value / norm);
      truncated = seen.truncatedTokens(choice.retained());
    }
    time.stop();
    return new PruningReport.Layer(
        seen.layerIndex(),
        choice.retained(),
        seen.others(choice.retained()),
        loss,
        relative,
        choice.exact(),
        choice.losses(),
        truncated,
        time.elapsed());
  }
}
