package io.winnow.core.internal.kernel.array;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.nio.ShortBuffer;

/**
 * The elements of a contiguous tensor on the CPU, in float32 or bfloat16: its own memory, valid
 * while the tensor is open.
 */
public final class HostElements {
  private final FloatBuffer floats;
  private final ShortBuffer shorts;
  private final boolean wide;

  HostElements(ByteBuffer bytes, boolean wide) {
    this.wide = wide;
    floats = bytes.asFloatBuffer();
    shorts = bytes.asShortBuffer();
  }

  /** Reads successive elements until the array is full. */
  public void read(int from, float[] target) {
    if (wide) {
      floats.get(from, target);
      return;
    }
    for (int i = 0; i < target.length; i++) {
      // Bfloat16 is the upper half of a float32.
      target[i] = Float.intBitsToFloat(shorts.get(from + i) << Short.SIZE);
    }
  }

  /** Writes successive elements, in bfloat16 rounded to nearest, ties to even. */
  public void write(int to, float[] source, int from, int count) {
    if (wide) {
      floats.put(to, source, from, count);
      return;
    }
    for (int i = 0; i < count; i++) {
      int bits = Float.floatToIntBits(source[from + i]);
      if (!Float.isNaN(source[from + i])) {
        bits += 0x7fff + (bits >>> Short.SIZE & 1);
      }
      shorts.put(to + i, (short) (bits >>> Short.SIZE));
    }
  }
}
