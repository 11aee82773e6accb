package io.winnow.core.internal.kernel.fused;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.internal.form.StateForm;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.kernel.LayerState;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.ScalarTypes;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import java.util.ArrayList;
import java.util.List;

/** What layers keep of tokens: room for more, copies, and what a host holds instead. */
final class FusedStates {
  private final TorchScriptModule module;
  private final long scalarType;

  /**
   * Creates it.
   *
   * @param scalarType of the model
   */
  FusedStates(TorchScriptModule module, long scalarType) {
    this.module = module;
    this.scalarType = scalarType;
  }

  void reserve(LayerState state, DeviceTensor like, StateForm form, int sequences, int tokens) {
    int needed = state.length() + tokens;
    if (needed <= state.capacity()) {
      return;
    }
    long capacity = LayerState.roundUp(needed);
    NDManager manager = state.manager();
    List<DeviceTensor> tensors = new ArrayList<>();
    if (state.tensors().isEmpty()) {
      for (StateForm.PerToken part : form.tensors()) {
        tensors.add(
            module.runForTensor(
                manager,
                "empty_state",
                like,
                (long) sequences,
                (long) part.heads(),
                capacity,
                (long) part.size()));
      }
    } else {
      for (DeviceTensor tensor : state.tensors()) {
        tensors.add(module.runForTensor(manager, "grow", tensor, capacity));
      }
    }
    state.set(tensors);
  }

  DeviceTensor copy(NDManager manager, DeviceTensor kept, NDArray rows, int length, int tokens) {
    try (DeviceTensor index = DeviceTensor.borrowing(rows)) {
      return module.runForTensor(
          manager, "copy_state", kept, index, (long) length, (long) (length + tokens));
    }
  }

  void fill(KeyValueCache cache, NDList contents) {
    int perLayer = contents.size() / cache.numLayers();
    for (int layer = 0; layer < cache.numLayers(); layer++) {
      LayerState state = cache.layer(layer);
      List<DeviceTensor> tensors = new ArrayList<>();
      for (NDArray array : contents.subList(layer * perLayer, (layer + 1) * perLayer)) {
        try (DeviceTensor own = DeviceTensor.owning(array.duplicate())) {
          tensors.add(convert(state.manager(), own, scalarType));
        }
      }
      state.set(tensors);
    }
    cache.advance((int) contents.head().getShape().get(2));
  }

  NDList contents(NDManager manager, KeyValueCache cache) {
    NDList contents = new NDList();
    for (int layer = 0; layer < cache.numLayers(); layer++) {
      for (DeviceTensor tensor : cache.layer(layer).tensors()) {
        contents.add(contents(manager, tensor, cache.length()));
      }
    }
    return contents;
  }

  private NDArray contents(NDManager manager, DeviceTensor tensor, int length) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray filled = tensor.rawArray().get(new NDIndex(":, :, :{}", length));
      filled.attach(scratch);
      try (DeviceTensor narrow = DeviceTensor.borrowing(filled);
          DeviceTensor wide = convert(scratch, narrow, ScalarTypes.of(DataType.FLOAT32))) {
        // What was converted may be a view of the cache, and is read-only outside of inference.
        NDArray copy = wide.array().duplicate();
        copy.attach(manager);
        return copy;
      }
    }
  }

  private DeviceTensor convert(NDManager manager, DeviceTensor tensor, long type) {
    String device = ScalarTypes.deviceName(manager.getDevice());
    return module.runForTensor(manager, "convert", tensor, device, type);
  }
}
