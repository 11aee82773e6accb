package io.winnow.core.calibration;

import com.google.common.primitives.ImmutableLongArray;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/**
 * Makes equally long sequences of what is there, blocks of a text or rows of token ids: all of
 * them, or a seeded sample.
 *
 * @param sequences how many are wanted
 * @param length of each, or null for the default
 * @param maxPositions of the model, or null for any number
 */
record SequenceSampler(
    int sequences, @Nullable Integer length, @Nullable Integer maxPositions, long seed) {
  private static final int DEFAULT_LENGTH = 2048;

  SequenceSampler {
    requirePositive("number of sequences", sequences);
    requirePositive("length", length);
    requirePositive("number of the model's positions", maxPositions);
    if (length != null && maxPositions != null) {
      checkPositions(length, maxPositions);
    }
  }

  private static void requirePositive(String what, @Nullable Integer value) {
    if (value != null && value < 1) {
      throw new InvalidInputException("The " + what + " must be at least 1, not " + value + ".");
    }
  }

  static void checkPositions(int length, int maxPositions) {
    if (length > maxPositions) {
      throw new InvalidInputException(
          "Sequences of "
              + length
              + " tokens are longer than the model's "
              + maxPositions
              + " positions; use a length of at most "
              + maxPositions
              + ".");
    }
  }

  /** Cuts a text into blocks that do not overlap; the rest is dropped. */
  Calibration ofBlocks(ImmutableLongArray ids) {
    int blockLength = length != null ? length : DEFAULT_LENGTH;
    if (length == null && maxPositions != null) {
      blockLength = Math.min(blockLength, maxPositions);
    }
    int blocks = ids.length() / blockLength;
    if (blocks == 0) {
      throw new InvalidInputException(
          "The text has "
              + ids.length()
              + " tokens, fewer than one sequence of "
              + blockLength
              + ". Use a shorter length (--length) or more text.");
    }
    int[] chosen = sample(blocks);
    long[][] rows = new long[chosen.length][];
    for (int i = 0; i < chosen.length; i++) {
      int start = chosen[i] * blockLength;
      rows[i] = ids.subArray(start, start + blockLength).toArray();
    }
    return new Calibration(
        TokenSequences.of(rows), seed, describe("blocks", blocks, blockLength, ""));
  }

  /** Uses rows of token ids, cut to the length that is wanted. */
  Calibration ofRows(long[][] ids, Path origin) {
    TokenSequences all = TokenSequences.of(ids);
    int rowLength = length != null ? length : all.length();
    if (rowLength > all.length()) {
      throw new InvalidInputException(
          "The token ids in "
              + origin
              + " are sequences of "
              + all.length()
              + " tokens, shorter than the length of "
              + rowLength
              + " asked for; use a length (--length) of at most "
              + all.length()
              + ".");
    }
    if (maxPositions != null) {
      checkPositions(rowLength, maxPositions);
    }
    int[] chosen = sample(all.count());
    long[][] rows = new long[chosen.length][];
    for (int i = 0; i < chosen.length; i++) {
      rows[i] = Arrays.copyOf(all.sequence(chosen[i]), rowLength);
    }
    String cut = rowLength < all.length() ? ", the first of " + all.length() + " in each" : "";
    return new Calibration(
        TokenSequences.of(rows), seed, describe("sequences", all.count(), rowLength, cut));
  }

  /** Returns the numbers of the blocks to use, ascending. */
  private int[] sample(int available) {
    List<Integer> numbers = new ArrayList<>(available);
    for (int i = 0; i < available; i++) {
      numbers.add(i);
    }
    if (sequences < available) {
      Collections.shuffle(numbers, new Random(seed));
      numbers = numbers.subList(0, sequences);
      Collections.sort(numbers);
    }
    return numbers.stream().mapToInt(Integer::intValue).toArray();
  }

  private String describe(String what, int available, int tokens, String cut) {
    String of = what + " of " + tokens + " tokens" + cut;
    if (sequences < available) {
      return sequences + " of " + available + " " + of + ", sampled with seed " + seed;
    }
    String all = available + " " + of + ": all there are";
    return sequences == available ? all : all + ", " + sequences + " were wanted";
  }
}
