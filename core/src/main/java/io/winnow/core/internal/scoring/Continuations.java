package io.winnow.core.internal.scoring;

import java.util.Arrays;
import java.util.List;

/**
 * A context and what may follow it, as tokens.
 *
 * @param context at least one token
 * @param continuations at least one, each of at least one token
 */
public record Continuations(long[] context, List<long[]> continuations) {
  /** Returns the length of the longest continuation. */
  int longest() {
    return continuations.stream().mapToInt(tokens -> tokens.length).max().orElseThrow();
  }

  /** Returns the last tokens of the context, {@code most} of them at most. */
  public long[] lastOfContext(int most) {
    return Arrays.copyOfRange(context, Math.max(0, context.length - most), context.length);
  }
}
