package io.winnow.core.internal.kernel.fused;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.IValue;
import com.google.common.base.Stopwatch;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.ScalarTypes;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Matrix products of random numbers and nothing else, in the types that models compute in: the time
 * that a model with products of these sizes cannot do without. For benchmarks. Not thread-safe. Not
 * part of the API.
 */
public final class MatrixProducts implements AutoCloseable {
  /**
   * An input {@code [rows, inner]} times a weight {@code [columns, inner]}, transposed.
   *
   * @param weight products with the same name and sizes share one array
   */
  public record Product(long rows, long inner, long columns, String weight) {}

  private final NDManager manager;
  private final TorchScriptModule module;
  private final IValue inputs;
  private final IValue weights;
  private final IValue outputs;

  /**
   * Makes the arrays; the caller closes them with this object.
   *
   * @param products in the order in which they are computed
   * @throws InvalidInputException if there is none, or models do not compute in this type
   */
  public MatrixProducts(Device device, DataType type, List<Product> products) {
    if (products.isEmpty()) {
      throw new InvalidInputException("There are no matrix products to compute; name at least one");
    }
    int scalarType = ScalarTypes.of(type);
    manager = NDManager.newBaseManager(device, "PyTorch");
    try {
      module = TorchScriptModule.load(manager);
      Map<List<Object>, DeviceTensor> arrays = new HashMap<>();
      DeviceTensor[][] operands = new DeviceTensor[3][products.size()];
      for (int i = 0; i < products.size(); i++) {
        Product product = products.get(i);
        long rows = product.rows();
        long inner = product.inner();
        long columns = product.columns();
        operands[0][i] =
            arrays.computeIfAbsent(
                List.of("input", rows, inner), key -> random(scalarType, rows, inner));
        operands[1][i] =
            arrays.computeIfAbsent(
                List.of("weight", product.weight(), columns, inner),
                key -> random(scalarType, columns, inner).transposed(manager));
        operands[2][i] =
            arrays.computeIfAbsent(
                List.of("output", rows, columns), key -> random(scalarType, rows, columns));
      }
      inputs = list(operands[0]);
      weights = list(operands[1]);
      outputs = list(operands[2]);
    } catch (RuntimeException e) {
      manager.close();
      throw e;
    }
  }

  private IValue list(DeviceTensor[] tensors) {
    IValue list = DeviceTensor.list(tensors);
    manager.attachInternal(list.getUid(), list);
    return list;
  }

  private DeviceTensor random(int scalarType, long rows, long columns) {
    NDArray numbers = manager.randomUniform(-1, 1, new Shape(rows, columns));
    if (scalarType == ScalarTypes.of(DataType.FLOAT32)) {
      return DeviceTensor.owning(numbers);
    }
    try (DeviceTensor wide = DeviceTensor.owning(numbers)) {
      String device = ScalarTypes.deviceName(manager.getDevice());
      return module.runForTensor(manager, "convert", wide, device, (long) scalarType);
    }
  }

  /** Computes all products once, and returns the seconds until the last one is there. */
  public double seconds() {
    Stopwatch time = Stopwatch.createStarted();
    try (DeviceTensor last = module.runForTensor(manager, "products", inputs, weights, outputs)) {
      var unused = last.array().toFloatArray(); // Waits for the device.
      return time.elapsed().toNanos() / 1e9;
    }
  }

  @Override
  public void close() {
    manager.close();
  }
}
