package io.winnow.core.internal.form;

/**
 * The rotation by positions. Layers with the same rotation share one object.
 *
 * @param inverseFrequencies angles per position, one for two elements
 * @param factor of sines and cosines
 * @param interleaved whether neighbours are rotated together, instead of an element and the one
 *     half of them behind it
 */
public record RotaryConfig(float[] inverseFrequencies, double factor, boolean interleaved) {
  /** Returns how many elements of a head are rotated. */
  public int size() {
    return 2 * inverseFrequencies.length;
  }
}
