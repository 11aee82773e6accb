package io.winnow.core.internal.form;

import org.jspecify.annotations.Nullable;

/**
 * The rotation by positions. Layers with the same rotation share one object.
 *
 * @param inverseFrequencies angles per position, one for two elements
 * @param factor of sines and cosines
 * @param interleaved whether neighbours are rotated together, instead of an element and the one
 *     half of them behind it
 * @param longer how longer sequences are rotated; null where all are rotated alike
 */
public record RotaryConfig(
    float[] inverseFrequencies, double factor, boolean interleaved, @Nullable Longer longer) {

  /** Creates the rotation of sequences of any length. */
  public RotaryConfig(float[] inverseFrequencies, double factor, boolean interleaved) {
    this(inverseFrequencies, factor, interleaved, null);
  }

  /**
   * The rotation of long sequences, of all their tokens.
   *
   * @param above the longest sequence that is not rotated so
   * @param inverseFrequencies as many as of shorter ones
   * @param factor of sines and cosines
   */
  public record Longer(int above, float[] inverseFrequencies, double factor) {}

  /** Returns how many elements of a head are rotated. */
  public int size() {
    return 2 * inverseFrequencies.length;
  }
}
