package io.winnow.core.internal.kernel.reference;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.nn.core.Linear;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import org.jspecify.annotations.Nullable;

/** NDArray operations that several parts of the reference need. */
final class ReferenceArrays {
  private ReferenceArrays() {}

  /**
   * Returns a copy whose memory is PyTorch's. What Java creates lies in a buffer that is collected
   * when the array is closed, even if a graph to differentiate still needs it; and arithmetic with
   * a number creates and closes such an array.
   */
  static NDArray kept(NDManager manager, NDArray created) {
    try (created) {
      return attach(manager, created.duplicate());
    }
  }

  static NDArray rootMeanSquare(NDArray x, @Nullable DeviceTensor weight, double epsilon) {
    NDArray variance = x.square().mean(new int[] {-1}, true);
    NDArray normalized = x.div(variance.add((float) epsilon).sqrt());
    return weight == null ? normalized : normalized.mul(weight.array());
  }

  static NDArray biased(NDArray x, @Nullable DeviceTensor bias) {
    return bias == null ? x : x.add(bias.array());
  }

  static NDArray times(NDManager manager, NDArray x, double factor) {
    return factor == 1 ? x : x.mul(kept(manager, manager.create((float) factor)));
  }

  static NDArray linear(NDArray x, DeviceTensor weight) {
    return Linear.linear(x, weight.array()).singletonOrThrow();
  }

  static DeviceTensor own(NDManager manager, NDArray array) {
    return DeviceTensor.owning(attach(manager, array));
  }

  static NDArray attach(NDManager manager, NDArray array) {
    array.attach(manager);
    return array;
  }
}
