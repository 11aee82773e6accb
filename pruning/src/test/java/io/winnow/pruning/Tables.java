package io.winnow.pruning;

import ai.djl.ndarray.NDArray;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.core.calibration.Calibration;
import io.winnow.pruning.internal.table.CalibrationPass;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.Random;

/** Tables of a model's first layer, and what only this package can make, for tests of others. */
public final class Tables {
  private Tables() {}

  /** Measures a model's first layer; the target, if there is one, is drawn by lot. */
  public static InnerProductTable measure(
      FakeModel model,
      Calibration calibration,
      Routing routing,
      int tokensPerGroup,
      int candidates,
      boolean withTarget) {
    int experts = model.layers.get(0).numExperts();
    InnerProductTable table =
        new InnerProductTable(1, experts, routing, tokensPerGroup, candidates);
    model.forward(
        calibration.sequences(),
        new ForwardObserver() {
          @Override
          public boolean onInput(MoeLayerView layer, NDArray hidden) {
            float[] target = withTarget ? gaussian((int) hidden.size()) : null;
            CalibrationPass.add(table, layer, hidden, true, target);
            return false;
          }
        });
    return table;
  }

  private static float[] gaussian(int size) {
    Random random = new Random(1);
    float[] values = new float[size];
    for (int i = 0; i < size; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  /** What a method is shown of a table. */
  public static LayerCalibration view(InnerProductTable table) {
    return new LayerCalibration(table);
  }

  /** A report of some layers. */
  public static PruningReport report(
      int retained, Provenance provenance, PruningReport.Layer... layers) {
    return new PruningReport(
        retained,
        false,
        0,
        1,
        List.of(layers),
        List.of(),
        provenance,
        Duration.ZERO,
        Optional.empty());
  }

  /** A layer of a report whose losses were measured; the first is the best. */
  public static PruningReport.Layer layer(
      int layer, List<Integer> retained, double relativeLoss, SubsetLoss... losses) {
    return new PruningReport.Layer(
        layer,
        retained,
        losses[0].dropped(),
        OptionalDouble.of(losses[0].loss()),
        OptionalDouble.of(relativeLoss),
        true,
        List.of(losses),
        0,
        Duration.ZERO);
  }
}
