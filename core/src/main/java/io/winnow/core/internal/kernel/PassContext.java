package io.winnow.core.internal.kernel;

/**
 * What the sequence mixers of all layers know of the tokens of one pass. Each kernel has its own,
 * and takes no other's.
 */
public abstract class PassContext {
  private final int sequences;
  private final int tokens;

  /** Creates it for so many sequences, of each of which there are so many new tokens. */
  protected PassContext(int sequences, int tokens) {
    this.sequences = sequences;
    this.tokens = tokens;
  }

  /** Returns the number of sequences. */
  public final int sequences() {
    return sequences;
  }

  /** Returns the number of new tokens in each. */
  public final int tokens() {
    return tokens;
  }

  /** Returns the rows of each sequence's last {@code count} tokens. */
  public final int[] lastRows(int count) {
    int[] rows = new int[sequences * count];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = i / count * tokens + tokens - count + i % count;
    }
    return rows;
  }
}
