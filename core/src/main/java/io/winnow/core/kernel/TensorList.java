package io.winnow.core.kernel;

import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.jni.IValue;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Weights that the kernel takes together, and the TorchScript list of them, which is made once.
 *
 * <p>Closing it closes the list, which owns references to the tensors; the tensors stay with whom
 * they belong to. Not part of the API.
 */
public final class TensorList implements AutoCloseable {
  private final List<DeviceTensor> tensors;
  private @Nullable IValue value;
  private @Nullable NDManager valueManager;

  /** Creates a list of at least one tensor. */
  public TensorList(List<DeviceTensor> tensors) {
    this.tensors = List.copyOf(tensors);
  }

  /** Creates a list of at least one tensor. */
  public static TensorList of(DeviceTensor... tensors) {
    return new TensorList(List.of(tensors));
  }

  /** Returns the tensor at a place. */
  public DeviceTensor get(int index) {
    return tensors.get(index);
  }

  /** Returns the number of tensors. */
  public int size() {
    return tensors.size();
  }

  synchronized IValue value() {
    IValue current = value;
    if (current == null) {
      current = DeviceTensor.list(tensors.toArray(DeviceTensor[]::new));
      value = current;
      valueManager = tensors.get(0).rawArray().getManager();
      valueManager.attachInternal(current.getUid(), current);
    }
    return current;
  }

  @Override
  public synchronized void close() {
    if (value != null && valueManager != null) {
      valueManager.detachInternal(value.getUid());
      value.close();
      value = null;
      valueManager = null;
    }
  }
}
