package io.winnow.core;

import com.google.common.hash.Hasher;
import com.google.common.hash.Hashing;
import java.util.Arrays;
import java.util.Objects;

/**
 * Equally long sequences of token ids, {@code [count, length]}, of which there is at least one.
 *
 * <p>Immutable and safe for use by several threads: arrays are copied on the way in and on the way
 * out. Two are equal when they hold the same ids in the same arrangement.
 */
public final class TokenSequences {
  private final int count;
  private final int length;
  private final long[] ids;

  /** Takes over {@code ids}, whose size is a multiple of {@code length}. */
  private TokenSequences(long[] ids, int length) {
    this.count = ids.length / length;
    this.length = length;
    this.ids = ids;
  }

  /**
   * Returns sequences with the given ids.
   *
   * @param ids the token ids, {@code [count, length]}; copied
   * @return the sequences
   * @throws InvalidInputException if there is no sequence, if the sequences are empty or of
   *     different lengths, if an id is negative, or if there are more ids than an array can hold
   */
  public static TokenSequences of(long[][] ids) {
    if (ids.length == 0) {
      throw new InvalidInputException("There are no sequences of token ids; at least 1 is needed.");
    }
    int length = ids[0].length;
    if (length == 0) {
      throw new InvalidInputException("The sequences of token ids are empty: length 0.");
    }
    if ((long) ids.length * length > Integer.MAX_VALUE - 8) {
      throw new InvalidInputException(
          ids.length
              + " sequences of "
              + length
              + " tokens are more than fit an array (2147483639); use fewer or shorter ones.");
    }
    long[] flat = new long[ids.length * length];
    for (int i = 0; i < ids.length; i++) {
      if (ids[i].length != length) {
        throw new InvalidInputException(
            "Sequences of token ids must have the same length: sequence 0 has "
                + length
                + " tokens, sequence "
                + i
                + " has "
                + ids[i].length
                + ".");
      }
      System.arraycopy(ids[i], 0, flat, i * length, length);
    }
    for (int i = 0; i < flat.length; i++) {
      if (flat[i] < 0) {
        throw new InvalidInputException(
            "Token id "
                + flat[i]
                + " in sequence "
                + i / length
                + " at position "
                + i % length
                + " is negative; ids start at 0.");
      }
    }
    return new TokenSequences(flat, length);
  }

  /** Returns the number of sequences, at least 1. */
  public int count() {
    return count;
  }

  /** Returns the number of tokens in each sequence, at least 1. */
  public int length() {
    return length;
  }

  /** Returns the number of tokens in all sequences together. */
  public long tokens() {
    return ids.length;
  }

  /**
   * Returns one sequence's ids.
   *
   * @param i the sequence's number, from 0
   * @return a copy, {@code [length]}
   * @throws IndexOutOfBoundsException if there is no such sequence
   */
  public long[] sequence(int i) {
    Objects.checkIndex(i, count);
    return Arrays.copyOfRange(ids, i * length, (i + 1) * length);
  }

  /**
   * Returns some consecutive sequences.
   *
   * @param from the first one's number, from 0
   * @param to the number after the last one's, greater than {@code from}
   * @return the sequences, {@code [to - from, length]}
   * @throws IndexOutOfBoundsException if the range is empty or exceeds what is there
   */
  public TokenSequences slice(int from, int to) {
    return new TokenSequences(flatten(from, to), length);
  }

  /**
   * Returns the ids of some consecutive sequences, one sequence after the other: what a tensor of
   * shape {@code [to - from, length]} is made of.
   *
   * @param from the first one's number, from 0
   * @param to the number after the last one's, greater than {@code from}
   * @return a copy, {@code [(to - from) * length]}
   * @throws IndexOutOfBoundsException if the range is empty or exceeds what is there
   */
  public long[] flatten(int from, int to) {
    Objects.checkFromToIndex(from, to, count);
    if (from == to) {
      throw new IndexOutOfBoundsException("The range [" + from + ", " + to + ") is empty");
    }
    return Arrays.copyOfRange(ids, from * length, to * length);
  }

  /** Returns the greatest id: a vocabulary must have more entries than this. */
  public long maxId() {
    long max = 0;
    for (long id : ids) {
      max = Math.max(max, id);
    }
    return max;
  }

  /**
   * Returns what identifies these ids wherever they came from: {@code sha256:} and 64 lower-case
   * hexadecimal digits, the SHA-256 of these numbers, each as 8 bytes, little-endian: the count,
   * the length, then the ids, sequence after sequence.
   */
  public String digest() {
    Hasher hasher = Hashing.sha256().newHasher().putLong(count).putLong(length);
    for (long id : ids) {
      hasher.putLong(id);
    }
    return "sha256:" + hasher.hash();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TokenSequences that
        && length == that.length
        && Arrays.equals(ids, that.ids);
  }

  @Override
  public int hashCode() {
    return 31 * length + Arrays.hashCode(ids);
  }

  @Override
  public String toString() {
    return "TokenSequences[" + count + ", " + length + "]";
  }
}
