package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.form.PositionForm.Growth;
import io.winnow.core.internal.form.PositionForm.Visibility;
import org.jspecify.annotations.Nullable;

/**
 * Where the new tokens of a pass stand in their sequences, and what follows from it: their
 * positions, for which padding does not count, and what they see.
 */
public final class TokenPlaces {
  /**
   * Masks a score without making a row of nothing but masked ones (of a padding token) infinite,
   * and within the range of float16.
   */
  private static final float MASKED = -30_000f;

  private final int tokens;
  private final int past;
  private final long[] padding;
  private final int paddingStart;

  /**
   * Creates it.
   *
   * @param tokens new tokens per sequence
   * @param past positions that are cached
   * @param padding how many positions of each sequence are padding
   * @param paddingStart the position at which the padding starts
   */
  public TokenPlaces(int tokens, int past, long[] padding, int paddingStart) {
    this.tokens = tokens;
    this.past = past;
    this.padding = padding.clone();
    this.paddingStart = paddingStart;
  }

  /** Returns the number of sequences. */
  public int sequences() {
    return padding.length;
  }

  /** Returns the number of new tokens in each. */
  public int tokens() {
    return tokens;
  }

  /** Returns how many positions are before them, padding included. */
  public int past() {
    return past;
  }

  /** Returns whether a sequence is padded. */
  public boolean isPadded() {
    return isPadded(padding);
  }

  static boolean isPadded(long[] padding) {
    for (long count : padding) {
      if (count > 0) {
        return true;
      }
    }
    return false;
  }

  private int rows() {
    return isPadded() ? padding.length : 1;
  }

  private long position(int place, int row) {
    return place < paddingStart ? place : Math.max(paddingStart, place - padding[row]);
  }

  /** Returns the positions, {@code [1 or sequences, tokens]} int64. */
  public NDArray positions(NDManager manager) {
    long[] positions = new long[rows() * tokens];
    for (int i = 0; i < positions.length; i++) {
      positions[i] = position(past + i % tokens, i / tokens);
    }
    return manager.create(positions, new Shape(rows(), tokens));
  }

  /**
   * Returns the queries' factors by position, {@code [1 or sequences, 1, tokens, 1]} in float32.
   */
  public NDArray growth(NDManager manager, Growth growth) {
    float[] factors = new float[rows() * tokens];
    for (int i = 0; i < factors.length; i++) {
      factors[i] = growth.at(position(past + i % tokens, i / tokens));
    }
    return manager.create(factors, new Shape(rows(), 1, tokens, 1));
  }

  /**
   * Returns the additive mask {@code [1 or sequences, 1, tokens, past + tokens]} in float32, or
   * null where plain causal attention says it all and the caller does not {@code require} one.
   */
  public @Nullable NDArray mask(NDManager manager, Visibility visibility, boolean require) {
    int total = past + tokens;
    boolean causal = visibility.isCausal(total);
    boolean needed = require || (visibility.explicit() && tokens > 1);
    if (!needed && !isPadded() && causal && (tokens == 1 || past == 0)) {
      return null;
    }
    int rows = rows();
    float[] mask = new float[Math.multiplyExact(rows * tokens, total)];
    for (int row = 0; row < rows; row++) {
      for (int token = 0; token < tokens; token++) {
        int at = (row * tokens + token) * total;
        int query = past + token;
        for (int key = 0; key < total; key++) {
          boolean visible =
              key <= query && (key < paddingStart || key >= paddingStart + padding[row]);
          if (visible && !causal) {
            visible = visibility.sees(position(query, row), position(key, row));
          }
          if (!visible) {
            mask[at + key] = MASKED;
          }
        }
      }
    }
    return manager.create(mask, new Shape(rows, 1, tokens, total));
  }
}
