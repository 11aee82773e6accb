package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What one layer keeps of the tokens it has seen, as its sequence mixer's {@code StateForm} says:
 * tensors {@code [sequences, heads, capacity, size]}, none before the first token.
 */
public final class LayerState implements AutoCloseable {
  private final KeyValueCache cache;
  private List<DeviceTensor> tensors = List.of();
  private @Nullable TensorList list;
  private @Nullable Object companion;

  LayerState(KeyValueCache cache) {
    this.cache = cache;
  }

  /** Returns the manager of the tensors. */
  public NDManager manager() {
    return cache.manager();
  }

  /** Returns how many positions are filled, padding included. */
  public int length() {
    return cache.length();
  }

  /** Returns the tensors. */
  public List<DeviceTensor> tensors() {
    return tensors;
  }

  /** Returns the tensors as the kernel takes them; null if there are none yet. */
  public @Nullable TensorList list() {
    return list;
  }

  /** Returns the positions that there is room for. */
  public int capacity() {
    return tensors.isEmpty() ? 0 : (int) tensors.get(0).shape().get(2);
  }

  /** Returns the capacity to reserve for so many positions, which grows by blocks. */
  public static long roundUp(int positions) {
    return KeyValueCache.roundUp(positions);
  }

  /** Returns what a kernel keeps beside the tensors, made on first use and with new tensors. */
  public <T> T companion(Class<T> type, Supplier<T> make) {
    if (companion == null) {
      companion = make.get();
    }
    return type.cast(companion);
  }

  /** Replaces the tensors and closes the old ones. */
  public void set(List<DeviceTensor> newTensors) {
    close();
    newTensors.forEach(tensor -> tensor.attach(manager()));
    tensors = List.copyOf(newTensors);
    list = new TensorList(newTensors);
  }

  @Override
  public void close() {
    companion = null;
    if (list != null) {
      list.close();
    }
    tensors.forEach(DeviceTensor::close);
  }
}
