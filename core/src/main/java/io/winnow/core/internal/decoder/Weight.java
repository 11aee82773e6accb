package io.winnow.core.internal.decoder;

import ai.djl.Device;
import ai.djl.nn.Parameter;
import ai.djl.training.ParameterStore;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import org.jspecify.annotations.Nullable;

/** A named weight of a block: in float32 also a DJL parameter, so that it can be trained. */
public final class Weight implements AutoCloseable {
  private final DeviceTensor tensor;
  private final @Nullable Parameter parameter;

  private Weight(DeviceTensor tensor, @Nullable Parameter parameter) {
    this.tensor = tensor;
    this.parameter = parameter;
  }

  /**
   * Creates a weight.
   *
   * @param trainable whether it becomes a parameter; DJL aborts the JVM when it copies or saves one
   *     in bfloat16
   */
  public static Weight of(String name, DeviceTensor tensor, boolean trainable) {
    if (!trainable) {
      return new Weight(tensor, null);
    }
    Parameter parameter = Parameter.builder().setName(name).setType(Parameter.Type.WEIGHT).build();
    parameter.setArray(tensor.array());
    return new Weight(tensor, parameter);
  }

  public DeviceTensor tensor() {
    return tensor;
  }

  @Nullable Parameter parameter() {
    return parameter;
  }

  /** Returns the weight to train with; its array belongs to the store. */
  DeviceTensor trained(ParameterStore store, Device device) {
    if (parameter == null) {
      throw new IllegalStateException(
          "Only a model loaded in float32 can be trained; load it with optDataType(FLOAT32)");
    }
    return DeviceTensor.borrowing(store.getValue(parameter, device, true));
  }

  @Override
  public void close() {
    tensor.close();
  }
}
