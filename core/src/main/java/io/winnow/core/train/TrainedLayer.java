package io.winnow.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ExpertMerge;
import io.winnow.core.internal.decoder.SparseMoe;
import io.winnow.core.internal.decoder.TrainedMerge;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.routing.MappedRouting;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/** A layer's two matrices, what Adam knows of them, and the experts they mix. */
final class TrainedLayer {
  private final int index;
  private final SparseMoe layer;
  private final int layerTopK;
  private final AdamMatrix routerMapping;
  private final AdamMatrix expertMerging;

  /** All experts' gate, up and down weights, each {@code [n, m d]}. */
  private final List<NDArray> stacks = new ArrayList<>();

  private final List<Shape> shapes = new ArrayList<>();

  TrainedLayer(
      NDManager manager, SparseMoe layer, ExpertMerge merge, MergeTraining.Options options) {
    index = layer.layerIndex();
    this.layer = layer;
    layerTopK = options.topK(layer);
    routerMapping = new AdamMatrix(merge.routerMapping(), options.routerRate());
    expertMerging = new AdamMatrix(merge.expertMerging(), options.expertRate());
    stack(manager, expert -> expert.gate().tensor());
    stack(manager, expert -> expert.up().tensor());
    stack(manager, expert -> expert.down().tensor());
  }

  private void stack(NDManager manager, Function<SparseMoe.Expert, DeviceTensor> weight) {
    NDList weights = new NDList();
    layer.experts().forEach(expert -> weights.add(weight.apply(expert).array()));
    try (NDArray stacked = NDArrays.stack(weights)) {
      NDArray flat = stacked.reshape(weights.size(), -1);
      flat.attach(manager);
      stacks.add(flat);
      shapes.add(weights.head().getShape());
    }
  }

  int index() {
    return index;
  }

  void open(NDManager scratch, boolean withGradient) {
    routerMapping.open(scratch, withGradient);
    expertMerging.open(scratch, withGradient);
  }

  TrainedMerge trained(boolean withGradient) {
    List<TensorList> merged = new ArrayList<>();
    for (int i = 0; i < stacks.size(); i++) {
      NDArray flat = expertMerging.array().matMul(stacks.get(i));
      List<DeviceTensor> experts = new ArrayList<>();
      for (int row = 0; row < expertMerging.rows(); row++) {
        experts.add(DeviceTensor.borrowing(flat.get(row).reshape(shapes.get(i))));
      }
      merged.add(new TensorList(experts));
    }
    return new TrainedMerge(
        MappedRouting.of(layer.mergeableRouting(), routerMapping.matrix(), layerTopK),
        withGradient ? routerMapping.array() : null,
        new ExpertWeights(merged.get(0), merged.get(1), merged.get(2)));
  }

  void update(int step, double factor) {
    routerMapping.update(step, factor);
    expertMerging.update(step, factor);
  }

  /** Returns the gradients of W_RM and W_EM. */
  float[][] gradients() {
    return new float[][] {routerMapping.gradient(), expertMerging.gradient()};
  }

  ExpertMerge merge() {
    return ExpertMerge.of(routerMapping.matrix(), expertMerging.matrix());
  }
}
