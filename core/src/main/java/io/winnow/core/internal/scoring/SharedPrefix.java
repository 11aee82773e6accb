package io.winnow.core.internal.scoring;

import java.util.Arrays;
import java.util.List;

/** Finds the tokens that all prompts begin with: they are computed once. */
public final class SharedPrefix {
  /** What a pass of its own costs is not worth it for fewer tokens. */
  private static final int LEAST = 16;

  private SharedPrefix() {}

  /**
   * Returns how many first tokens all prompts share, at least one less than the shortest has; 0 if
   * they are not worth a pass of their own.
   */
  public static int length(List<long[]> prompts) {
    if (prompts.size() < 2) {
      return 0;
    }
    long[] first = prompts.get(0);
    int shared = first.length;
    for (long[] prompt : prompts) {
      int same = Arrays.mismatch(first, prompt);
      shared = Math.min(shared, Math.min(same < 0 ? shared : same, prompt.length - 1));
    }
    return shared < LEAST ? 0 : shared;
  }
}
