package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.form.AttentionConfig.Temperature;
import io.winnow.core.internal.form.AttentionConfig.Visibility;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.Map;
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

  private final @Nullable TensorList rotary;
  private final Map<Visibility, TensorList> masks;
  private final int sequences;
  private final int tokens;
  private final @Nullable IValue sizes;
  private final int past;
  private final float @Nullable [] rotaryRow;

  /**
   * Creates a context.
   *
   * @param rotary cosines, sines, the queries' factors by position if layers need them, and what
   *     else a kernel makes of them for itself
   * @param masks by visibility, where one is needed
   * @param sizes what the fused kernel needs of them as a TorchScript list; its manager closes it
   */
  AttentionContext(
      TensorList rotary,
      Map<Visibility, TensorList> masks,
      int sequences,
      int tokens,
      @Nullable IValue sizes) {
    this(rotary, masks, sequences, tokens, sizes, 0, null);
  }

  private AttentionContext(
      @Nullable TensorList rotary,
      Map<Visibility, TensorList> masks,
      int sequences,
      int tokens,
      @Nullable IValue sizes,
      int past,
      float @Nullable [] rotaryRow) {
    this.rotary = rotary;
    this.masks = Map.copyOf(masks);
    this.sequences = sequences;
    this.tokens = tokens;
    this.sizes = sizes;
    this.past = past;
    this.rotaryRow = rotaryRow;
  }

  /**
   * Creates the context of a single token.
   *
   * @param past the positions before it
   * @param rotaryRow its cosines and sines, as {@link RotaryTable#row} returns them
   */
  static AttentionContext ofToken(int past, float[] rotaryRow) {
    return new AttentionContext(null, Map.of(), 1, 1, null, past, rotaryRow);
  }

  int past() {
    return past;
  }

  float[] rotaryRow() {
    return ofThisKernel(rotaryRow);
  }

  TensorList rotary() {
    return ofThisKernel(rotary);
  }

  DeviceTensor cos() {
    return rotary().get(0);
  }

  DeviceTensor sin() {
    return rotary().get(1);
  }

  DeviceTensor temperature() {
    return rotary().get(2);
  }

  @Nullable DeviceTensor mask(Visibility visibility) {
    TensorList list = masks.get(visibility);
    return list == null ? null : list.get(0);
  }

  @Nullable TensorList maskList(Visibility visibility) {
    return masks.get(visibility);
  }

  /** Returns the number of sequences. */
  public int sequences() {
    return sequences;
  }

  /** Returns the number of new tokens in each. */
  public int tokens() {
    return tokens;
  }

  /** Returns the rows of each sequence's last {@code count} tokens. */
  public int[] lastRows(int count) {
    int[] rows = new int[sequences * count];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = i / count * tokens + tokens - count + i % count;
    }
    return rows;
  }

  IValue sizes() {
    return ofThisKernel(sizes);
  }

  private static <T> T ofThisKernel(@Nullable T prepared) {
    if (prepared == null) {
      throw new IllegalStateException("The context was prepared by another kernel");
    }
    return prepared;
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
        positions[row * tokens + token] = position(past + token, padding[row], paddingStart);
      }
    }
    return manager.create(positions, new Shape(rows, tokens));
  }

  private static long position(int place, long padding, int paddingStart) {
    return place < paddingStart ? place : Math.max(paddingStart, place - padding);
  }

  /**
   * Returns the queries' factors by position, {@code [1 or sequences, 1, tokens, 1]} in float32.
   */
  static NDArray temperatures(
      NDManager manager,
      Temperature temperature,
      int tokens,
      int past,
      long[] padding,
      int paddingStart) {
    int rows = isPadded(padding) ? padding.length : 1;
    float[] factors = new float[rows * tokens];
    for (int row = 0; row < rows; row++) {
      for (int token = 0; token < tokens; token++) {
        factors[row * tokens + token] =
            temperature.at(position(past + token, padding[row], paddingStart));
      }
    }
    return manager.create(factors, new Shape(rows, 1, tokens, 1));
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
      Visibility visibility,
      boolean require) {
    int total = past + tokens;
    boolean padded = isPadded(padding);
    boolean causal = visibility.isCausal(total);
    boolean needed = require || (visibility.explicit() && tokens > 1);
    if (!needed && !padded && causal && (tokens == 1 || past == 0)) {
      return null;
    }
    int rows = padded ? padding.length : 1;
    float[] mask = new float[Math.multiplyExact(rows * tokens, total)];
    for (int row = 0; row < rows; row++) {
      for (int token = 0; token < tokens; token++) {
        int at = (row * tokens + token) * total;
        int query = past + token;
        for (int key = 0; key < total; key++) {
          boolean visible =
              key <= query && (key < paddingStart || key >= paddingStart + padding[row]);
          if (visible && !causal) {
            long place = position(query, padding[row], paddingStart);
            visible = visibility.sees(place, position(key, padding[row], paddingStart));
          }
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
