package io.winnow.core.internal.kernel.single;

import io.winnow.core.internal.form.GroupedAttention;
import io.winnow.core.internal.kernel.array.HostElements;

/**
 * One layer's keys and values of a single sequence as arrays, beside the tensors of the cache: what
 * is appended here is written to them too, and what others wrote there is read before that.
 */
final class ArrayCache {
  private final GroupedAttention form;
  private final HostElements keyElements;
  private final HostElements valueElements;
  private final int capacity;
  private final float[][][] keys;
  private final float[][][] values;
  private int length;

  /**
   * Creates an empty copy.
   *
   * @param keyElements {@code [heads, capacity, headSize]}
   * @param valueElements the same of the values
   */
  ArrayCache(
      GroupedAttention form, HostElements keyElements, HostElements valueElements, int capacity) {
    this.form = form;
    this.keyElements = keyElements;
    this.valueElements = valueElements;
    this.capacity = capacity;
    keys = new float[form.keyValueHeads()][form.keySize()][capacity];
    values = new float[form.keyValueHeads()][capacity][form.keySize()];
  }

  int capacity() {
    return capacity;
  }

  /** Returns a head's keys, {@code [headSize][capacity]}: a row for each element. */
  float[][] keys(int head) {
    return keys[head];
  }

  /** Returns a head's values, {@code [capacity][headSize]}. */
  float[][] values(int head) {
    return values[head];
  }

  /**
   * Appends a token.
   *
   * @param position its position
   * @param newKeys {@code [heads * headSize]}
   * @param newValues the same of the values
   */
  void append(int position, float[] newKeys, float[] newValues) {
    for (; length < position; length++) {
      read(length);
    }
    int size = form.keySize();
    for (int head = 0; head < keys.length; head++) {
      int at = (head * capacity + position) * size;
      keyElements.write(at, newKeys, head * size, size);
      valueElements.write(at, newValues, head * size, size);
    }
    // Read back as the tensors' type rounds it. The next token reads it once more: if this step
    // fails, others may write there.
    read(position);
  }

  private void read(int position) {
    int size = form.keySize();
    for (int head = 0; head < keys.length; head++) {
      int at = (head * capacity + position) * size;
      keyElements.read(at, values[head][position]);
      for (int i = 0; i < size; i++) {
        keys[head][i][position] = values[head][position][i];
      }
      valueElements.read(at, values[head][position]);
    }
  }
}
