package io.winnow.core.internal.kernel.array;

/** Arithmetic on arrays in loops that the JVM's compiler turns into vector instructions. */
public final class ArrayMath {
  /** Added to a float, it leaves the nearest integer in the lowest bits. */
  private static final float ROUNDING = 0x1.8p23f;

  private ArrayMath() {}

  /**
   * Adds weighted rows: {@code sum[j] += factors[factorsFrom + i] * rows[rowsFrom + i][j]} for i
   * below {@code count} and j below {@code size}.
   */
  public static void addRows(
      float[] sum,
      int size,
      float[] factors,
      int factorsFrom,
      float[][] rows,
      int rowsFrom,
      int count) {
    int i = 0;
    for (; i + 4 <= count; i += 4) {
      addFour(
          sum,
          size,
          rows[rowsFrom + i],
          rows[rowsFrom + i + 1],
          rows[rowsFrom + i + 2],
          rows[rowsFrom + i + 3],
          factors[factorsFrom + i],
          factors[factorsFrom + i + 1],
          factors[factorsFrom + i + 2],
          factors[factorsFrom + i + 3]);
    }
    for (; i < count; i++) {
      addOne(sum, size, rows[rowsFrom + i], factors[factorsFrom + i]);
    }
  }

  /** Four rows at a time: the sum is read and written a quarter as often. */
  private static void addFour(
      float[] sum,
      int size,
      float[] first,
      float[] second,
      float[] third,
      float[] fourth,
      float a,
      float b,
      float c,
      float d) {
    for (int j = 0; j < size; j++) {
      sum[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j];
    }
  }

  private static void addOne(float[] sum, int size, float[] row, float factor) {
    for (int j = 0; j < size; j++) {
      sum[j] += factor * row[j];
    }
  }

  /**
   * Returns e to the x to the precision of a float: 2 to the nearest integer of x / ln 2, times a
   * polynomial of the rest (the coefficients of Cephes' {@code expf}). A third of the time of
   * {@code Math.exp}.
   */
  public static float exp(float x) {
    if (!(x > -87 && x < 88)) {
      return (float) Math.exp(x);
    }
    float shifted = x * 1.44269504f + ROUNDING;
    float power = shifted - ROUNDING;
    float rest = x - power * 0.693359375f + power * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * rest + 1.3981999507e-3f;
    y = y * rest + 8.3334519073e-3f;
    y = y * rest + 4.1665795894e-2f;
    y = y * rest + 1.6666665459e-1f;
    y = y * rest + 5.0000001201e-1f;
    y = y * rest * rest + rest + 1;
    int exponent = Float.floatToRawIntBits(shifted) - Float.floatToRawIntBits(ROUNDING);
    return Float.intBitsToFloat(Float.floatToRawIntBits(y) + (exponent << 23));
  }
}
