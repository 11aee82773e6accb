package io.winnow.core.internal.checkpoint;

import io.winnow.core.internal.safetensors.TensorInfo;
import java.util.ArrayList;
import java.util.List;

/**
 * A weight as a checkpoint holds it: plain, or quantised in blocks that have a scale each.
 *
 * <p>Quantised ones are computed back when they are read; whoever writes them copies their bytes.
 * Immutable. Not part of the API.
 */
public sealed interface StoredWeight {
  /** Returns the tensor that the weight is named after. */
  TensorInfo values();

  /** Returns all tensors that it consists of: values, then scales if there are some. */
  List<TensorInfo> tensors();

  /** Returns the dimensions of what is computed of it. */
  List<Long> shape();

  /** A tensor in F32, F16 or BF16. */
  record Plain(TensorInfo values) implements StoredWeight {
    @Override
    public List<TensorInfo> tensors() {
      return List.of(values);
    }

    @Override
    public List<Long> shape() {
      return values.shape();
    }
  }

  /**
   * A matrix in F8_E4M3 that is multiplied by the scale of each block, as in DeepSeek-V3 (arXiv
   * 2412.19437, section 3.3.2).
   *
   * @param values {@code [rows, columns]}
   * @param scales {@code [ceil(rows / blockRows), ceil(columns / blockColumns)]}, F32, F16 or BF16
   */
  record Fp8(TensorInfo values, TensorInfo scales, long blockRows, long blockColumns)
      implements StoredWeight {
    @Override
    public List<TensorInfo> tensors() {
      return List.of(values, scales);
    }

    @Override
    public List<Long> shape() {
      return values.shape();
    }
  }

  /**
   * A matrix in MXFP4 (OCP Microscaling Formats 1.0): 32 successive elements of a row are 16 bytes,
   * the lower half of each byte first, and share a power of two.
   *
   * @param values {@code [rows, columns / 32, 16]}, U8, or several matrices of that shape
   * @param scales {@code [rows, columns / 32]}, U8, the exponent plus 127, as many
   */
  record Mxfp4(TensorInfo values, TensorInfo scales) implements StoredWeight {
    /** Elements that have one scale. */
    public static final int BLOCK = 32;

    @Override
    public List<TensorInfo> tensors() {
      return List.of(values, scales);
    }

    @Override
    public List<Long> shape() {
      List<Long> blocks = values.shape();
      List<Long> shape = new ArrayList<>(blocks.subList(0, blocks.size() - 1));
      shape.set(shape.size() - 1, shape.get(shape.size() - 1) * BLOCK);
      return List.copyOf(shape);
    }
  }
}
