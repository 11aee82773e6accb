package io.winnow.core.internal.kernel.read;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.InvalidInputException;
import io.winnow.core.QuantizedFixtures;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.fused.FusedKernel;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What quantised weights mean, bit by bit. */
class DequantizationTest {
  @TempDir Path folder;

  private Map<String, TensorInfo> write(OutputTensor... tensors) {
    Path file = folder.resolve("weights.safetensors");
    SafetensorsFile.write(file, List.of(tensors), Map.of());
    return SafetensorsFile.open(file).tensors();
  }

  /** Reads a weight, and returns its elements as float32. */
  private static float[] read(StoredWeight weight, DataType type) {
    Telemetry.off();
    try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
      FusedKernel kernel =
          new FusedKernel(manager, type, new KernelConfig(16, 1e-6, 1, 1, 1, false));
      try (WeightReader reader = new WeightReader(kernel, manager, type);
          DeviceTensor tensor = reader.read(weight)) {
        assertThat(tensor.shape().getShape())
            .containsExactly(weight.shape().stream().mapToLong(Long::longValue).toArray());
        ByteBuffer bytes = kernel.bytes(manager, "weight", tensor, TensorType.F32);
        float[] elements = new float[bytes.remaining() / Float.BYTES];
        bytes.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(elements);
        return elements;
      }
    }
  }

  private static float rounded(float value, DataType type) {
    if (type == DataType.FLOAT32) {
      return value;
    }
    // To the nearest, of two equally near to the even.
    int bits = Float.floatToRawIntBits(value);
    return Float.intBitsToFloat(bits + 0x7fff + (bits >> 16 & 1) & 0xffff0000);
  }

  @ParameterizedTest
  @CsvSource({"0x00, 0", "0x01, 0x1p-9", "0x08, 0x1p-6", "0x38, 1", "0x7e, 448", "0xb9, -1.125"})
  void theReferenceKnowsTheCodesOfFp8(String code, String value) {
    assertThat(QuantizedFixtures.e4m3(Integer.decode(code)))
        .isEqualTo(
            Float.parseFloat(
                value.startsWith("0x") ? Double.toString(Double.parseDouble(value)) : value));
  }

  @Test
  void theReferenceKnowsTheCodesOfMxfp4() {
    float[] values = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    for (int code = 0; code < 16; code++) {
      assertThat(QuantizedFixtures.e2m1(code)).isEqualTo(values[code]);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"FLOAT32", "BFLOAT16"})
  void everyCodeOfFp8TimesTheScaleOfItsBlock(DataType type) {
    // 14 x 18 codes in blocks of 4 x 5: the last row and the last column of blocks are cut.
    byte[] codes = new byte[14 * 18];
    for (int i = 0; i < codes.length; i++) {
      int code = i < 127 ? i : i + 1;
      codes[i] = (byte) (code == 255 ? 254 : code);
    }
    float[] scales = new float[4 * 4];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = (i % 2 == 0 ? 1 : -1) * (0.3f + i) / 7;
    }
    scales[3] = 0;
    scales[4] = 1e-41f;
    Map<String, TensorInfo> tensors =
        write(
            QuantizedFixtures.bytes("w", TensorType.F8_E4M3, List.of(14L, 18L), codes),
            OutputTensor.ofFloats("s", List.of(4L, 4L), scales));
    float[] read = read(new StoredWeight.Fp8(tensors.get("w"), tensors.get("s"), 4, 5), type);
    for (int i = 0; i < codes.length; i++) {
      float scale = scales[i / 18 / 4 * 4 + i % 18 / 5];
      float expected = rounded(QuantizedFixtures.e4m3(codes[i] & 255) * scale, type);
      assertThat(Float.floatToRawIntBits(read[i]))
          .as("code %d times %s: %s, expected %s", codes[i] & 255, scale, read[i], expected)
          .isEqualTo(Float.floatToRawIntBits(expected));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"FLOAT32", "BFLOAT16"})
  void everyCodeOfMxfp4TimesEveryPowerOfTwo(DataType type) {
    byte[] codes = new byte[255 * 16];
    byte[] scales = new byte[255];
    for (int row = 0; row < 255; row++) {
      scales[row] = (byte) row;
      for (int i = 0; i < 16; i++) {
        codes[row * 16 + i] = (byte) (i | (i * 7 + row & 15) << 4);
      }
    }
    Map<String, TensorInfo> tensors =
        write(
            QuantizedFixtures.bytes("w", TensorType.U8, List.of(255L, 1L, 16L), codes),
            QuantizedFixtures.bytes("s", TensorType.U8, List.of(255L, 1L), scales));
    float[] read = read(new StoredWeight.Mxfp4(tensors.get("w"), tensors.get("s")), type);
    for (int i = 0; i < read.length; i++) {
      int both = codes[i / 2] & 255;
      int code = i % 2 == 0 ? both & 15 : both >> 4;
      float expected = rounded(QuantizedFixtures.mxfp4(code, i / 32), type);
      assertThat(Float.floatToRawIntBits(read[i]))
          .as("code %d, scale %d: %s, expected %s", code, i / 32, read[i], expected)
          .isEqualTo(Float.floatToRawIntBits(expected));
    }
  }

  /** Of a million elements and some more, which are computed in parts. */
  @Test
  void mxfp4WithSeveralBlocksInARowAndManyRows() {
    int rows = 10_500;
    byte[] codes = new byte[rows * 3 * 16];
    byte[] scales = new byte[rows * 3];
    new Random(7).nextBytes(codes);
    for (int i = 0; i < scales.length; i++) {
      scales[i] = (byte) (100 + i % 50);
    }
    Map<String, TensorInfo> tensors =
        write(
            QuantizedFixtures.bytes("w", TensorType.U8, List.of((long) rows, 3L, 16L), codes),
            QuantizedFixtures.bytes("s", TensorType.U8, List.of((long) rows, 3L), scales));
    float[] read =
        read(new StoredWeight.Mxfp4(tensors.get("w"), tensors.get("s")), DataType.FLOAT32);
    float[] expected = new float[read.length];
    for (int i = 0; i < read.length; i++) {
      int both = codes[i / 2] & 255;
      int code = i % 2 == 0 ? both & 15 : both >> 4;
      expected[i] = QuantizedFixtures.mxfp4(code, scales[i / 32] & 255);
    }
    assertThat(read).isEqualTo(expected);
  }

  @ParameterizedTest
  @ValueSource(ints = {0x7f, 0xff})
  void aCodeThatIsNoNumberIsRefused(int code) {
    byte[] codes = new byte[6];
    codes[4] = (byte) code;
    Map<String, TensorInfo> tensors =
        write(
            QuantizedFixtures.bytes("w", TensorType.F8_E4M3, List.of(2L, 3L), codes),
            OutputTensor.ofFloats("s", List.of(1L, 1L), new float[] {1}));
    StoredWeight weight = new StoredWeight.Fp8(tensors.get("w"), tensors.get("s"), 2, 3);
    assertThatThrownBy(() -> read(weight, DataType.FLOAT32))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'w'")
        .hasMessageContaining("damaged");
  }

  @Test
  void aScaleThatIsNoNumberIsRefused() {
    Map<String, TensorInfo> tensors =
        write(
            QuantizedFixtures.bytes("w", TensorType.F8_E4M3, List.of(2L, 3L), new byte[6]),
            OutputTensor.ofFloats("s", List.of(1L, 1L), new float[] {Float.POSITIVE_INFINITY}));
    assertThatThrownBy(
            () ->
                read(
                    new StoredWeight.Fp8(tensors.get("w"), tensors.get("s"), 2, 3),
                    DataType.BFLOAT16))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'s'")
        .hasMessageContaining("Infinity");
  }

  @Test
  void aPowerOfTwoThatIsNoneIsRefused() {
    Map<String, TensorInfo> tensors =
        write(
            QuantizedFixtures.bytes("w", TensorType.U8, List.of(1L, 2L, 16L), new byte[32]),
            QuantizedFixtures.bytes("s", TensorType.U8, List.of(1L, 2L), new byte[] {1, -1}));
    assertThatThrownBy(
            () ->
                read(new StoredWeight.Mxfp4(tensors.get("w"), tensors.get("s")), DataType.FLOAT32))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'s'")
        .hasMessageContaining("NaN");
  }
}
