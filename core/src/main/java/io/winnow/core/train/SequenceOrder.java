package io.winnow.core.train;

import io.winnow.core.TokenSequences;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;

/**
 * The seeded order in which a training takes sequences: every one once before any comes again. Not
 * thread-safe.
 */
final class SequenceOrder {
  private final TokenSequences sequences;
  private final Random random;
  private final List<Integer> order = new ArrayList<>();

  SequenceOrder(TokenSequences sequences, long seed) {
    this.sequences = sequences;
    random = new Random(seed);
  }

  /** Returns the next sequences, at most as many as there are. */
  TokenSequences next(int count) {
    long[][] ids = new long[Math.min(count, sequences.count())][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = sequences.sequence(draw());
    }
    return TokenSequences.of(ids);
  }

  /** Goes on to where {@code times} calls of {@link #next} would have led. */
  void skip(int count, long times) {
    for (long i = times * Math.min(count, sequences.count()); i > 0; i--) {
      draw();
    }
  }

  private int draw() {
    if (order.isEmpty()) {
      for (int i = 0; i < sequences.count(); i++) {
        order.add(i);
      }
      Collections.shuffle(order, random);
    }
    return order.remove(order.size() - 1);
  }
}
