package io.winnow.pruning.internal.stream;

import static java.util.Objects.requireNonNull;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.google.common.primitives.Doubles;
import com.google.common.primitives.Floats;
import io.winnow.core.ForwardObserver;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.pruning.internal.table.CalibrationPass;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.RoutedOutput;
import io.winnow.pruning.internal.table.TokenBatch;
import org.jspecify.annotations.Nullable;

/** One batch's pass through a layer. Passes of one layer may run at the same time. */
final class LayerPass implements Runnable, ForwardObserver {
  private final Settings settings;
  private final LayerwiseModel.Layer layer;
  private final StreamShape.Batch batch;
  private @Nullable TokenBatch measured;
  private @Nullable NDArray routedOutput;

  /**
   * What the passes of one layer have in common.
   *
   * @param withOutputs whether the experts' outputs are measured
   * @param stepTokens about how many tokens' outputs of all experts may exist at the same time
   * @param isLast whether the layer's output is not needed any more
   * @param seen what the layer's tokens are measured for; null for a dense layer
   * @param before the hidden states before the layer
   * @param behind those behind it, to be written
   */
  record Settings(
      boolean withOutputs,
      int stepTokens,
      boolean isLast,
      @Nullable InnerProductTable seen,
      HiddenStates before,
      HiddenStates behind) {}

  LayerPass(Settings settings, LayerwiseModel.Layer layer, StreamShape.Batch batch) {
    this.settings = settings;
    this.layer = layer;
    this.batch = batch;
  }

  @Override
  public void run() {
    try (NDManager scratch = layer.manager().newSubManager()) {
      NDArray input = settings.before().take(batch.from(), batch.count(), scratch);
      NDArray output = layer.forward(input, batch.count(), this);
      if (output != null) {
        settings.behind().write(batch.from(), output);
      }
    }
  }

  @Override
  public boolean onInput(MoeLayerView view, NDArray input) {
    InnerProductTable table = requireNonNull(settings.seen());
    boolean last = settings.isLast();
    if (settings.withOutputs()) {
      measured =
          CalibrationPass.measure(
              table, view, input, settings.stepTokens(), last ? NDArray::close : this::keep);
    } else {
      measured = CalibrationPass.route(table, view, input);
      if (!last) {
        float[] output = Floats.toArray(Doubles.asList(RoutedOutput.of(view, input, null)));
        keep(input.getManager().create(output, input.getShape()));
      }
    }
    return !last;
  }

  private void keep(NDArray output) {
    routedOutput = output;
  }

  @Override
  public @Nullable NDArray routedOutput(MoeLayerView view, NDArray input) {
    return routedOutput;
  }

  /** Adds what was measured to the layer's table, if it has one. */
  void finish() {
    if (settings.seen() != null) {
      settings.seen().add(requireNonNull(measured));
    }
  }
}
