package io.winnow.core.internal.kernel.fused;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtNDManager;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import org.jspecify.annotations.Nullable;

/**
 * A routed residual as TorchScript returned it. Where it goes into the next call as it is, its
 * parts are never wrapped in Java objects, which for a single token takes longer than computing
 * them.
 */
final class RoutedState extends RoutedResidual {
  private final NDManager manager;
  private final NDArray logits;
  private final IValue state;
  private DeviceTensor @Nullable [] parts;

  /**
   * Creates it.
   *
   * @param result router logits, and the list: wide input, input where it is another, residual;
   *     taken over
   */
  RoutedState(NDManager manager, Junction junction, IValue result) {
    super(junction);
    this.manager = manager;
    IValue[] values = result.toIValueTuple();
    try (IValue first = values[0]) {
      logits = first.toTensor((PtNDManager) manager);
    }
    state = values[1];
    manager.attachInternal(state.getUid(), state);
  }

  /** Returns the list as the next call takes it. */
  IValue state() {
    return state;
  }

  @Override
  public DeviceTensor hidden() {
    return parts()[parts().length - 1];
  }

  @Override
  public DeviceTensor input() {
    return parts()[parts().length - 2];
  }

  @Override
  public NDArray wideInput() {
    return parts()[0].array();
  }

  private DeviceTensor[] parts() {
    if (parts == null) {
      parts = TorchScriptModule.tensors(manager, state);
    }
    return parts;
  }

  @Override
  public NDArray logits() {
    return logits;
  }

  @Override
  public void close() {
    logits.close();
    manager.detachInternal(state.getUid());
    state.close();
    if (parts != null) {
      for (DeviceTensor part : parts) {
        part.close();
      }
    }
  }
}
