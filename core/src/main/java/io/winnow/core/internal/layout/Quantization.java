package io.winnow.core.internal.layout;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * How a checkpoint's matrices are quantised, by {@code quantization_config} in its config.json.
 * Which of them are, their tensors say: {@code modules_to_not_convert} is not needed.
 *
 * @param method {@link #NONE}, {@link #FP8} or {@link #MXFP4}
 * @param blockRows rows of a block that has one scale in FP8
 * @param blockColumns its columns
 */
public record Quantization(String method, int blockRows, int blockColumns) {
  static final String NONE = "none";
  static final String FP8 = "fp8";
  static final String MXFP4 = "mxfp4";

  private static final Set<TensorType> PLAIN =
      Set.of(TensorType.F32, TensorType.F16, TensorType.BF16);

  /**
   * Reads what config.json says.
   *
   * @param json the decoder's part of it
   * @param experts how experts lie in the checkpoint
   * @throws InvalidInputException if the method is another one, or not one for experts that lie so
   */
  static Quantization read(Checkpoint checkpoint, CheckpointConfig json, ExpertNames experts) {
    for (CheckpointConfig config : List.of(checkpoint.config(), json)) {
      for (String field : List.of("quantization_config", "compression_config", "quantization")) {
        if (config.json().has(field) && !config.json().get(field).isJsonNull()) {
          return read(checkpoint, config.section(field), field, experts);
        }
      }
    }
    QuantizationSidecar.requireNone(checkpoint);
    return new Quantization(NONE, 1, 1);
  }

  private static Quantization read(
      Checkpoint checkpoint, CheckpointConfig json, String field, ExpertNames experts) {
    String method = json.string("quant_method", "type").orElse("(none is named)");
    if (method.equals(MXFP4)
        && experts instanceof ExpertNames.Fused fused
        && fused.layout() == ExpertNames.Layout.ALTERNATING_COLUMNS) {
      return new Quantization(MXFP4, 1, 1);
    }
    boolean apart = experts instanceof ExpertNames.Single single && !single.biased();
    if (!method.equals(FP8) || !apart) {
      throw refused(checkpoint, method, field, "");
    }
    Optional<String> scheme = json.string("activation_scheme");
    if (scheme.isPresent() && !scheme.get().equals("dynamic")) {
      throw refused(checkpoint, method, field, ", here with activation_scheme " + scheme.get());
    }
    List<Integer> block = json.ints("weight_block_size").orElse(List.of());
    if (block.size() != 2 || block.get(0) < 1 || block.get(1) < 1) {
      throw refused(checkpoint, method, field, ", here with weight_block_size " + block);
    }
    return new Quantization(FP8, block.get(0), block.get(1));
  }

  private static InvalidInputException refused(
      Checkpoint checkpoint, String method, String field, String detail) {
    return new InvalidInputException(
        String.format(
            "The weights in %s are quantised by quant_method '%s'%s (%s in config.json). Read are F32,"
                + " F16 and BF16, 'mxfp4' of gpt-oss, and, where each expert has gate, up and down in"
                + " tensors of its own, 'fp8' with weight_block_size [rows, columns] and activation_scheme"
                + " dynamic; convert the checkpoint to one of these",
            checkpoint.folder(), method, detail, field));
  }

  public boolean isNone() {
    return method.equals(NONE);
  }

  /** Returns a tensor that is not quantised. */
  static TensorInfo plain(TensorInfo info) {
    if (!PLAIN.contains(info.type())) {
      throw new InvalidInputException(
          String.format(
              "The tensor '%s' of %s is of type %s, expected F32, F16 or BF16 here; convert the"
                  + " checkpoint to one of these",
              info.name(), info.file(), info.type()));
    }
    return info;
  }

  /** Returns the name of the scales of a matrix in FP8. */
  static String scalesOf(String weight) {
    return weight + "_scale_inv";
  }

  /** Returns a matrix, with its scales if it is in FP8. */
  StoredWeight matrix(Checkpoint checkpoint, String name, long rows, long columns) {
    TensorInfo values = checkpoint.tensor(name, rows, columns);
    if (!method.equals(FP8) || values.type() != TensorType.F8_E4M3) {
      plain(values);
      if (checkpoint.has(scalesOf(name))) {
        throw new InvalidInputException(
            String.format(
                "The tensor '%s' of %s is of type %s, yet has scales, '%s'; download the checkpoint"
                    + " again",
                name, values.file(), values.type(), scalesOf(name)));
      }
      return new StoredWeight.Plain(values);
    }
    // A block that is larger than the matrix is one as large as it.
    long height = Math.min(blockRows, rows);
    long width = Math.min(blockColumns, columns);
    long scaleRows = (rows + height - 1) / height;
    long scaleColumns = (columns + width - 1) / width;
    TensorInfo scales = checkpoint.tensor(scalesOf(name), scaleRows, scaleColumns);
    return new StoredWeight.Fp8(values, plain(scales), height, width);
  }

  /** Returns whether a tensor of all experts of a layer is stored as blocks and scales. */
  boolean isBlocks(Checkpoint checkpoint, String name) {
    if (!checkpoint.has(blocksOf(name))) {
      return false;
    }
    if (!method.equals(MXFP4)) {
      throw new InvalidInputException(
          String.format(
              "The checkpoint %s has the tensor '%s', but quantization_config in config.json does not"
                  + " say 'mxfp4'; download both again",
              checkpoint.folder(), blocksOf(name)));
    }
    if (checkpoint.has(name)) {
      throw new InvalidInputException(
          String.format(
              "The checkpoint %s has both '%s' and '%s', of which it needs one; download it again",
              checkpoint.folder(), name, blocksOf(name)));
    }
    return true;
  }

  static String blocksOf(String name) {
    return name + "_blocks";
  }

  /** Returns the matrices {@code [rows, columns]} of all experts of a layer, as two tensors. */
  static List<TensorInfo> blocks(
      Checkpoint checkpoint, String name, long experts, long rows, long columns) {
    int block = StoredWeight.Mxfp4.BLOCK;
    if (columns % block != 0) {
      throw new InvalidInputException(
          String.format(
              "'%s' would have rows of %d elements by config.json, which are no whole blocks of %d;"
                  + " check that both come from the same checkpoint",
              blocksOf(name), columns, block));
    }
    return List.of(
        bytes(checkpoint.tensor(blocksOf(name), experts, rows, columns / block, block / 2)),
        bytes(checkpoint.tensor(name + "_scales", experts, rows, columns / block)));
  }

  private static TensorInfo bytes(TensorInfo info) {
    if (info.type() != TensorType.U8) {
      throw new InvalidInputException(
          String.format(
              "The tensor '%s' of %s is of type %s, expected U8 in MXFP4; download the checkpoint"
                  + " again",
              info.name(), info.file(), info.type()));
    }
    return info;
  }
}
