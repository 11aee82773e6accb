package io.winnow.core;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.IntToDoubleFunction;

/**
 * Quantises checkpoints, and computes them back by the formats' definitions: the reference for what
 * the kernel does.
 */
public final class QuantizedFixtures {
  private static final int BLOCK = 32;

  private QuantizedFixtures() {}

  /** Returns what an 8-bit float with 4 bits of exponent (bias 7, no infinities) means. */
  public static float e4m3(int code) {
    int exponent = code >> 3 & 15;
    int fraction = code & 7;
    if (exponent == 15 && fraction == 7) {
      return Float.NaN;
    }
    float magnitude =
        exponent == 0 ? Math.scalb(fraction / 8f, -6) : Math.scalb(1 + fraction / 8f, exponent - 7);
    return (code & 0x80) == 0 ? magnitude : -magnitude;
  }

  /** Returns what a 4-bit float with 2 bits of exponent (bias 1) means. */
  public static float e2m1(int code) {
    int exponent = code >> 1 & 3;
    int fraction = code & 1;
    float magnitude = exponent == 0 ? fraction / 2f : Math.scalb(1 + fraction / 2f, exponent - 1);
    return (code & 8) == 0 ? magnitude : -magnitude;
  }

  /** Returns an element of a block in MXFP4; the scale is not 255. */
  public static float mxfp4(int code, int scale) {
    return Math.scalb(e2m1(code), scale - 127);
  }

  private static int nearest(double value, int codes, IntToDoubleFunction meaning) {
    int best = 0;
    for (int code = 0; code < codes; code++) {
      double distance = Math.abs(meaning.applyAsDouble(code) - value);
      if (distance < Math.abs(meaning.applyAsDouble(best) - value)) {
        best = code;
      }
    }
    return best;
  }

  /** Writes a checkpoint whose projections are in FP8, a scale for each block. */
  public static Path fp8(Path source, Path target, int blockRows, int blockColumns)
      throws IOException {
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : Checkpoint.open(source).tensors().values()) {
      if (!info.name().endsWith("_proj.weight") && !info.name().contains("_proj_with_mqa.weight")) {
        tensors.add(OutputTensor.copyOf(info));
        continue;
      }
      int rows = info.shape().get(0).intValue();
      int columns = info.shape().get(1).intValue();
      float[] elements = floats(info);
      byte[] codes = new byte[elements.length];
      int scaleRows = (rows + blockRows - 1) / blockRows;
      int scaleColumns = (columns + blockColumns - 1) / blockColumns;
      float[] scales = new float[scaleRows * scaleColumns];
      for (int i = 0; i < elements.length; i++) {
        int block = i / columns / blockRows * scaleColumns + i % columns / blockColumns;
        scales[block] = Math.max(scales[block], Math.abs(elements[i]) / 448);
      }
      for (int i = 0; i < elements.length; i++) {
        int block = i / columns / blockRows * scaleColumns + i % columns / blockColumns;
        double wanted = (double) elements[i] / scales[block];
        codes[i] = (byte) nearest(wanted, 256, code -> code % 128 == 127 ? 1e9 : e4m3(code));
      }
      tensors.add(bytes(info.name(), TensorType.F8_E4M3, info.shape(), codes));
      tensors.add(
          OutputTensor.ofFloats(
              info.name() + "_scale_inv", List.of((long) scaleRows, (long) scaleColumns), scales));
    }
    JsonObject method = new JsonObject();
    method.addProperty("quant_method", "fp8");
    method.addProperty("fmt", "e4m3");
    method.addProperty("activation_scheme", "dynamic");
    JsonArray block = new JsonArray();
    block.add(blockRows);
    block.add(blockColumns);
    method.add("weight_block_size", block);
    return write(target, config(source, method), tensors);
  }

  /** Writes a checkpoint of gpt-oss whose experts are in MXFP4. */
  public static Path mxfp4(Path source, Path target) throws IOException {
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : Checkpoint.open(source).tensors().values()) {
      if (!info.name().endsWith("experts.gate_up_proj")
          && !info.name().endsWith("experts.down_proj")) {
        tensors.add(OutputTensor.copyOf(info));
        continue;
      }
      long experts = info.shape().get(0);
      long columns = info.shape().get(1);
      long rows = info.shape().get(2);
      float[] elements = transposed(floats(info), (int) columns, (int) rows);
      byte[] codes = new byte[elements.length / 2];
      byte[] scales = new byte[elements.length / BLOCK];
      for (int block = 0; block < scales.length; block++) {
        float greatest = 0;
        for (int i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
          greatest = Math.max(greatest, Math.abs(elements[i]));
        }
        int exponent = Math.getExponent(greatest) - 2;
        scales[block] = (byte) (exponent + 127);
        for (int i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
          int code =
              nearest(Math.scalb((double) elements[i], -exponent), 16, QuantizedFixtures::e2m1);
          codes[i / 2] |= (byte) (i % 2 == 0 ? code : code << 4);
        }
      }
      tensors.add(
          bytes(
              info.name() + "_blocks",
              TensorType.U8,
              List.of(experts, rows, columns / BLOCK, 16L),
              codes));
      tensors.add(
          bytes(
              info.name() + "_scales",
              TensorType.U8,
              List.of(experts, rows, columns / BLOCK),
              scales));
    }
    JsonObject method = new JsonObject();
    method.addProperty("quant_method", "mxfp4");
    JsonArray not = new JsonArray();
    not.add("model.layers.*.self_attn");
    method.add("modules_to_not_convert", not);
    return write(target, config(source, method), tensors);
  }

  /** Writes the checkpoint in F32 that a quantised one means. */
  public static Path dequantized(Path source, Path target) throws IOException {
    Map<String, TensorInfo> all = Checkpoint.open(source).tensors();
    JsonObject config = config(source, null);
    JsonObject method = (JsonObject) config.remove("quantization_config");
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : all.values()) {
      if (info.type() == TensorType.F8_E4M3) {
        JsonArray block = method.getAsJsonArray("weight_block_size");
        TensorInfo scales = all.get(info.name() + "_scale_inv");
        int columns = info.shape().get(1).intValue();
        float[] factors = floats(scales);
        ByteBuffer codes = buffer(info);
        float[] elements = new float[codes.remaining()];
        for (int i = 0; i < elements.length; i++) {
          int row = i / columns / block.get(0).getAsInt();
          int column = i % columns / block.get(1).getAsInt();
          elements[i] =
              e4m3(codes.get(i) & 255) * factors[row * scales.shape().get(1).intValue() + column];
        }
        tensors.add(OutputTensor.ofFloats(info.name(), info.shape(), elements));
      } else if (info.name().endsWith("_blocks")) {
        String name = info.name().substring(0, info.name().length() - "_blocks".length());
        ByteBuffer codes = buffer(info);
        ByteBuffer scales = buffer(all.get(name + "_scales"));
        float[] elements = new float[codes.remaining() * 2];
        for (int i = 0; i < elements.length; i++) {
          int both = codes.get(i / 2) & 255;
          elements[i] = mxfp4(i % 2 == 0 ? both & 15 : both >> 4, scales.get(i / BLOCK) & 255);
        }
        long rows = info.shape().get(1);
        long columns = info.shape().get(2) * BLOCK;
        tensors.add(
            OutputTensor.ofFloats(
                name,
                List.of(info.shape().get(0), columns, rows),
                transposed(elements, (int) rows, (int) columns)));
      } else if (!info.name().endsWith("_scale_inv") && !info.name().endsWith("_scales")) {
        tensors.add(OutputTensor.copyOf(info));
      }
    }
    return write(target, config, tensors);
  }

  /** Transposes each of several matrices behind each other. */
  private static float[] transposed(float[] elements, int rows, int columns) {
    float[] result = new float[elements.length];
    for (int i = 0; i < elements.length; i++) {
      int matrix = i / (rows * columns) * rows * columns;
      int row = i % (rows * columns) / columns;
      result[matrix + i % columns * rows + row] = elements[i];
    }
    return result;
  }

  private static JsonObject config(Path source, JsonObject method) throws IOException {
    JsonObject config =
        JsonParser.parseString(Files.readString(source.resolve("config.json"))).getAsJsonObject();
    if (method != null) {
      config.add("quantization_config", method);
    }
    return config;
  }

  /** Returns a tensor of bytes. */
  public static OutputTensor bytes(String name, TensorType type, List<Long> shape, byte[] content) {
    return new OutputTensor(
        name, type, shape, List.of(new Segment.BufferSegment(ByteBuffer.wrap(content))));
  }

  /** Returns a tensor's bytes. */
  public static byte[] bytes(TensorInfo info) {
    byte[] bytes = new byte[(int) info.length()];
    buffer(info).get(bytes);
    return bytes;
  }

  private static ByteBuffer buffer(TensorInfo info) {
    return SafetensorsFile.open(info.file()).read(info.name()).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static float[] floats(TensorInfo info) {
    return SafetensorsFile.open(info.file()).readFloats(info.name());
  }

  /** Writes a checkpoint folder and returns it. */
  public static Path write(Path target, JsonObject config, List<OutputTensor> tensors)
      throws IOException {
    Files.createDirectories(target);
    Files.writeString(target.resolve("config.json"), config.toString());
    SafetensorsFile.write(target.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
    return target;
  }
}
