package io.winnow.core.internal.safetensors;

/** The IEEE format of 16 bits, which Java knows from version 20 on only. */
final class HalfFloat {
  private static final int EXPONENT_BITS = 0x7c00;
  private static final int FRACTION_BITS = 0x03ff;

  private HalfFloat() {}

  static float toFloat(short half) {
    int sign = (half & 0x8000) << 16;
    int exponent = (half & EXPONENT_BITS) >> 10;
    int fraction = half & FRACTION_BITS;
    if (exponent == 0) { // zero and subnormal numbers: exact as a product
      float magnitude = fraction * 0x1p-24f;
      return sign == 0 ? magnitude : -magnitude;
    }
    int floatExponent = exponent == 31 ? 0xff : exponent - 15 + 127;
    return Float.intBitsToFloat(sign | floatExponent << 23 | fraction << 13);
  }
}
