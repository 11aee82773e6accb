package io.winnow.core.internal.safetensors;

import io.winnow.core.InvalidInputException;
import java.util.Arrays;

/**
 * The element type of a tensor in a safetensors file, named as in the file. Every type of the
 * format is known, so that a tensor of any type can be copied as bytes.
 */
public enum TensorType {
  /** A 64-bit IEEE floating point number. */
  F64(64),
  /** A 32-bit IEEE floating point number. */
  F32(32),
  /** A 16-bit IEEE floating point number. */
  F16(16),
  /** The upper 16 bits of an {@link #F32}. */
  BF16(16),
  /** A complex number of two {@link #F32}. */
  C64(64),
  /** A signed 64-bit integer. */
  I64(64),
  /** A signed 32-bit integer. */
  I32(32),
  /** A signed 16-bit integer. */
  I16(16),
  /** A signed 8-bit integer. */
  I8(8),
  /** An unsigned 64-bit integer. */
  U64(64),
  /** An unsigned 32-bit integer. */
  U32(32),
  /** An unsigned 16-bit integer. */
  U16(16),
  /** An unsigned 8-bit integer. */
  U8(8),
  /** A truth value in one byte. */
  BOOL(8),
  /** An 8-bit floating point number with 4 bits of exponent. */
  F8_E4M3(8),
  /** An 8-bit floating point number with 5 bits of exponent. */
  F8_E5M2(8),
  /** An {@link #F8_E4M3} without infinities and negative zero. */
  F8_E4M3FNUZ(8),
  /** An {@link #F8_E5M2} without infinities and negative zero. */
  F8_E5M2FNUZ(8),
  /** An 8-bit power of two, the scale of a block of smaller numbers. */
  F8_E8M0(8),
  /** A 6-bit floating point number with 2 bits of exponent. */
  F6_E2M3(6),
  /** A 6-bit floating point number with 3 bits of exponent. */
  F6_E3M2(6),
  /** A 4-bit floating point number. */
  F4(4);

  private final int bits;

  TensorType(int bits) {
    this.bits = bits;
  }

  /**
   * The number of bytes of one element.
   *
   * @throws InvalidInputException for the types of fewer than eight bits
   */
  public int bytes() {
    if (bits % Byte.SIZE != 0) {
      throw new InvalidInputException(
          "An element of type "
              + this
              + " has "
              + bits
              + " bits, which is no whole number of bytes; use the tensor's length");
    }
    return bits / Byte.SIZE;
  }

  int bits() {
    return bits;
  }

  /** The known type of this name, or an exception that lists the known ones. */
  static TensorType named(String name) {
    for (TensorType type : values()) {
      if (type.name().equals(name)) {
        return type;
      }
    }
    throw new InvalidInputException(
        "the type '" + name + "' is not known; known are " + Arrays.toString(values()));
  }

  /**
   * The number of bytes that a tensor of this type and shape takes.
   *
   * @throws ArithmeticException if a dimension is negative, if the number does not fit 64 bits, or
   *     if the tensor does not end at a whole byte
   */
  public long bytesOf(Iterable<Long> shape) {
    long elements = elementsOf(shape);
    if (bits % Byte.SIZE == 0) {
      return Math.multiplyExact(elements, bits / Byte.SIZE);
    }
    long totalBits = Math.multiplyExact(elements, bits);
    if (totalBits % Byte.SIZE != 0) {
      throw new ArithmeticException(totalBits + " bits are no whole number of bytes");
    }
    return totalBits / Byte.SIZE;
  }

  static long elementsOf(Iterable<Long> shape) {
    long elements = 1;
    for (long dimension : shape) {
      if (dimension < 0) {
        throw new ArithmeticException("dimension " + dimension + " is negative");
      }
      elements = Math.multiplyExact(elements, dimension);
    }
    return elements;
  }
}
