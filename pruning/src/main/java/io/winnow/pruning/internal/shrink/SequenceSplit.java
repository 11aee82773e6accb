package io.winnow.pruning.internal.shrink;

import io.winnow.core.TokenSequences;
import java.util.ArrayList;
import java.util.List;

/**
 * The calibration's sequences in an order in which those of one use follow each other: first those
 * to fit on, then those by which the damping is chosen, then those on which results are compared.
 *
 * @param sequences all of them
 * @param fitted how many are fitted on
 * @param held how many follow that choose the damping, and belong to the final fit
 */
public record SequenceSplit(TokenSequences sequences, int fitted, int held) {
  /** Of as many sequences one chooses the damping. */
  private static final int HELD = 8;

  /** Of as many sequences one is for comparing. */
  private static final int COMPARED = 4;

  /** Splits sequences that are all fitted on. */
  public static SequenceSplit forFit(TokenSequences sequences) {
    return of(sequences, false);
  }

  /**
   * Splits sequences of which every fourth is left for comparing.
   *
   * @param sequences at least two
   */
  public static SequenceSplit forComparing(TokenSequences sequences) {
    return of(sequences, true);
  }

  private static SequenceSplit of(TokenSequences sequences, boolean comparing) {
    List<long[]> used = new ArrayList<>();
    List<long[]> compared = new ArrayList<>();
    for (int i = 0; i < sequences.count(); i++) {
      boolean left =
          comparing
              && (i % COMPARED == COMPARED - 1
                  || (sequences.count() < COMPARED && i == sequences.count() - 1));
      (left ? compared : used).add(sequences.sequence(i));
    }
    List<long[]> fitted = new ArrayList<>();
    List<long[]> held = new ArrayList<>();
    for (int i = 0; i < used.size(); i++) {
      boolean isHeld = used.size() < HELD ? i > 0 && i == used.size() - 1 : i % HELD == HELD - 1;
      (isHeld ? held : fitted).add(used.get(i));
    }
    List<long[]> all = new ArrayList<>(fitted);
    all.addAll(held);
    all.addAll(compared);
    return new SequenceSplit(
        TokenSequences.of(all.toArray(long[][]::new)), fitted.size(), held.size());
  }

  /** Returns how many sequences are for comparing. */
  public int compared() {
    return sequences.count() - fitted - held;
  }

  /** Returns the tokens that are fitted on while the damping is chosen. */
  int fittedTokens() {
    return fitted * sequences.length();
  }

  /** Returns the tokens of the final fit. */
  int allFittedTokens() {
    return (fitted + held) * sequences.length();
  }

  int tokens() {
    return sequences.count() * sequences.length();
  }
}
