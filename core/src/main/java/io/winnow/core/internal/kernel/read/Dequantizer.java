package io.winnow.core.internal.kernel.read;

import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.ScalarTypes;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import io.winnow.core.internal.safetensors.TensorInfo;

/** Computes what quantised weights mean: products in float32, rounded to the wanted type. */
final class Dequantizer {
  private static final float[] PAIRS = pairs();
  private static final float[] POWERS = powers();

  private final TorchScriptModule module;
  private final NDManager manager;
  private final DataType type;

  /**
   * Creates it.
   *
   * @param manager the manager on the wanted device that results will belong to
   * @param type the wanted type
   */
  Dequantizer(TorchScriptModule module, NDManager manager, DataType type) {
    this.module = module;
    this.manager = manager;
    this.type = type;
  }

  /**
   * Computes a matrix in FP8.
   *
   * @param codes its bytes, on the CPU
   * @param scales {@code [rows, columns]} of blocks, float32 on the wanted device
   * @throws InvalidInputException if one of them is no finite number
   */
  DeviceTensor compute(StoredWeight.Fp8 weight, DeviceTensor codes, DeviceTensor scales) {
    // With either sign.
    refuse(weight.values(), codes, 0x7f, 0x7f);
    for (float scale : scales.array().toFloatArray()) {
      if (!Float.isFinite(scale)) {
        throw damaged(weight.scales(), Float.toString(scale));
      }
    }
    return ordinary(
        module.runForTensor(
            manager,
            "dequantize_fp8",
            codes,
            scales,
            weight.shape().get(0),
            weight.shape().get(1),
            weight.blockRows(),
            weight.blockColumns(),
            ScalarTypes.deviceName(manager.getDevice()),
            (long) ScalarTypes.of(type)));
  }

  /**
   * Computes a matrix in MXFP4.
   *
   * @param codes its bytes, on the CPU
   * @param scales those of its scales, on the CPU
   * @throws InvalidInputException if a scale is no number
   */
  DeviceTensor compute(StoredWeight.Mxfp4 weight, DeviceTensor codes, DeviceTensor scales) {
    refuse(weight.scales(), scales, 0xff, 0xff);
    try (DeviceTensor pairs = table(PAIRS);
        DeviceTensor powers = table(POWERS)) {
      return ordinary(
          module.runForTensor(
              manager,
              "dequantize_mxfp4",
              codes,
              scales,
              pairs,
              powers,
              weight.shape().get(0),
              weight.shape().get(1),
              ScalarTypes.deviceName(manager.getDevice()),
              (long) ScalarTypes.of(type)));
    }
  }

  private DeviceTensor table(float[] elements) {
    return DeviceTensor.owning(manager.create(elements, new Shape(256, elements.length / 256)));
  }

  /** Where DJL knows the type, others may put a tensor into a graph to differentiate. */
  private DeviceTensor ordinary(DeviceTensor computed) {
    if (type == DataType.BFLOAT16) {
      return computed;
    }
    try (computed) {
      return DeviceTensor.owning(computed.array().duplicate());
    }
  }

  private void refuse(TensorInfo info, DeviceTensor bytes, long mask, long noNumber) {
    try (IValue found = module.run("contains", bytes, mask, noNumber)) {
      if (found.toBoolean()) {
        throw damaged(info, "NaN");
      }
    }
  }

  private static InvalidInputException damaged(TensorInfo info, String found) {
    return new InvalidInputException(
        String.format(
            "The tensor '%s' of %s is damaged: there is %s among its numbers; download it again",
            info.name(), info.file(), found));
  }

  /** Returns the two elements of each byte of MXFP4, {@code [256, 2]}, the lower half's first. */
  private static float[] pairs() {
    float[] positive = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    float[] pairs = new float[512];
    for (int i = 0; i < pairs.length; i++) {
      int code = i % 2 == 0 ? i / 2 & 15 : i / 2 >> 4;
      pairs[i] = code < 8 ? positive[code] : -positive[code - 8];
    }
    return pairs;
  }

  /** Returns the powers of two that scales of MXFP4 mean, {@code [256, 1]}; the last is none. */
  private static float[] powers() {
    float[] powers = new float[256];
    for (int code = 0; code < powers.length; code++) {
      powers[code] = code == 0xff ? Float.NaN : Math.scalb(1f, code - 127);
    }
    return powers;
  }
}
