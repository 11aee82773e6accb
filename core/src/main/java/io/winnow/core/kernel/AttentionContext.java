package io.winnow.core.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.IValue;
import org.jspecify.annotations.Nullable;

/**
 * What all layers' attention shares in one forward pass: the positions' rotary factors, the mask,
 * and the sizes of all. Not part of the API.
 */
public final class AttentionContext {
  /**
   * Masks a score without making a row of nothing but masked ones (of a padding token) infinite,
   * and within the range of float16.
   */
  private static final float MASKED = -30_000f;

  private final TensorList rotary;
  private final DeviceTensor cos;
  private final DeviceTensor sin;
  private final @Nullable DeviceTensor mask;
  private final @Nullable TensorList maskList;
  private final int sequences;
  private final int tokens;
  private final @Nullable IValue sizes;

  /**
   * Creates a context.
   *
   * @param sizes what the fused kernel needs of them as a TorchScript list; its manager closes it
   */
  AttentionContext(
      DeviceTensor cos,
      DeviceTensor sin,
      @Nullable DeviceTensor mask,
      int sequences,
      int tokens,
      @Nullable IValue sizes) {
    this.cos = cos;
    this.sin = sin;
    this.mask = mask;
    this.sequences = sequences;
    this.tokens = tokens;
    this.sizes = sizes;
    rotary = TensorList.of(cos, sin);
    maskList = mask == null ? null : TensorList.of(mask);
  }

  TensorList rotary() {
    return rotary;
  }

  DeviceTensor cos() {
    return cos;
  }

  DeviceTensor sin() {
    return sin;
  }

  @Nullable DeviceTensor mask() {
    return mask;
  }

  @Nullable TensorList maskList() {
    return maskList;
  }

  /** Returns the number of sequences. */
  public int sequences() {
    return sequences;
  }

  /** Returns the number of new tokens in each. */
  public int tokens() {
    return tokens;
  }

  IValue sizes() {
    if (sizes == null) {
      throw new IllegalStateException("The context was prepared by another kernel");
    }
    return sizes;
  }

  /**
   * Returns the positions of the new tokens, {@code [1 or sequences, tokens]}: padding does not
   * count.
   */
  static NDArray positions(
      NDManager manager, int tokens, int past, long[] padding, int paddingStart) {
    int rows = isPadded(padding) ? padding.length : 1;
    long[] positions = new long[rows * tokens];
    for (int row = 0; row < rows; row++) {
      for (int token = 0; token < tokens; token++) {
        int at = past + token;
        positions[row * tokens + token] =
            at < paddingStart ? at : Math.max(paddingStart, at - padding[row]);
      }
    }
    return manager.create(positions, new Shape(rows, tokens));
  }

  /**
   * Returns the additive mask {@code [1 or sequences, 1, tokens, past + tokens]} in float32, or
   * null where plain causal attention says it all and the caller does not {@code require} one.
   */
  static @Nullable NDArray mask(
      NDManager manager,
      int tokens,
      int past,
      long[] padding,
      int paddingStart,
      int slidingWindow,
      boolean require) {
    int total = past + tokens;
    boolean padded = isPadded(padding);
    boolean windowed = slidingWindow > 0 && total > slidingWindow;
    if (!require && !padded && !windowed && (tokens == 1 || past == 0)) {
      return null;
    }
    int rows = padded ? padding.length : 1;
    float[] mask = new float[Math.multiplyExact(rows * tokens, total)];
    for (int row = 0; row < rows; row++) {
      for (int token = 0; token < tokens; token++) {
        int at = (row * tokens + token) * total;
        int query = past + token;
        for (int key = 0; key < total; key++) {
          long distance = query - key;
          if (key < paddingStart && query >= paddingStart) {
            distance -= padding[row];
          }
          boolean visible =
              key <= query
                  && (key < paddingStart || key >= paddingStart + padding[row])
                  && (!windowed || distance < slidingWindow);
          if (!visible) {
            mask[at + key] = MASKED;
          }
        }
      }
    }
    return manager.create(mask, new Shape(rows, 1, tokens, total));
  }

  static boolean isPadded(long[] padding) {
    for (long count : padding) {
      if (count > 0) {
        return true;
      }
    }
    return false;
  }
}
