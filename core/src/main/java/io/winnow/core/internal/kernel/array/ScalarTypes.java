package io.winnow.core.internal.kernel.array;

import ai.djl.Device;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.TensorType;

/** PyTorch's numbers of scalar types, and its names of devices. */
public final class ScalarTypes {
  public static final int UINT8 = 0;
  private static final int FLOAT16 = 5;
  private static final int FLOAT32 = 6;
  private static final int BFLOAT16 = 15;

  private ScalarTypes() {}

  public static int of(DataType type) {
    return switch (type) {
      case FLOAT16 -> FLOAT16;
      case FLOAT32 -> FLOAT32;
      case BFLOAT16 -> BFLOAT16;
      default ->
          throw new InvalidInputException(
              "Models compute in float32, float16 or bfloat16, not in " + type);
    };
  }

  public static DataType dataTypeOf(String tensor, TensorType type) {
    return switch (type) {
      case F16 -> DataType.FLOAT16;
      case F32 -> DataType.FLOAT32;
      case BF16 -> DataType.BFLOAT16;
      default ->
          throw new InvalidInputException(
              "Tensor '"
                  + tensor
                  + "' is of type "
                  + type
                  + "; weights are read in F32, F16 and BF16. Convert the checkpoint to one of these");
    };
  }

  public static String deviceName(Device device) {
    if (device.isGpu()) {
      return "cuda:" + device.getDeviceId();
    }
    if (device.equals(Device.cpu())) {
      return "cpu";
    }
    throw new InvalidInputException(
        "Models run on the CPU and on CUDA devices, not on '" + device + "'");
  }
}
