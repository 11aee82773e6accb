package io.winnow.core.internal.kernel.array;

import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.jni.IValue;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Weights that the kernel takes together, and the TorchScript lists of them, which are made once.
 *
 * <p>Closing it closes the list, which owns references to the tensors; the tensors stay with whom
 * they belong to. Not part of the API.
 */
public final class TensorList implements AutoCloseable {
  private final List<DeviceTensor> tensors;
  private @Nullable IValue value;
  private @Nullable IValue transposed;
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

  public synchronized IValue value() {
    if (value == null) {
      value = own(DeviceTensor.list(tensors.toArray(DeviceTensor[]::new)));
    }
    return value;
  }

  /** Returns the list with matrices transposed, as products take them: views, not copies. */
  public synchronized IValue transposed() {
    if (transposed == null) {
      PtNDArray[] views = new PtNDArray[tensors.size()];
      try (NDManager scratch = tensors.get(0).rawArray().getManager().newSubManager()) {
        for (int i = 0; i < views.length; i++) {
          PtNDArray array = tensors.get(i).rawArray();
          if (array.getShape().dimension() == 2) {
            array = array.transpose();
            array.attach(scratch);
          }
          views[i] = array;
        }
        transposed = own(IValue.listFrom(views));
      }
    }
    return transposed;
  }

  private IValue own(IValue list) {
    valueManager = tensors.get(0).rawArray().getManager();
    valueManager.attachInternal(list.getUid(), list);
    return list;
  }

  @Override
  public synchronized void close() {
    close(value);
    close(transposed);
    value = null;
    transposed = null;
    valueManager = null;
  }

  private void close(@Nullable IValue list) {
    if (list != null && valueManager != null) {
      valueManager.detachInternal(list.getUid());
      list.close();
    }
  }
}
