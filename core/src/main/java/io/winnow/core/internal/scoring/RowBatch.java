package io.winnow.core.internal.scoring;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.List;

/** Rows of one pass, padded on the right, where nothing before the padding looks at it. */
final class RowBatch {
  private final List<Row> rows;
  private final int width;
  private final long[] input;
  private final long[] targets;

  /**
   * Tokens of which the last ones are scored.
   *
   * @param source the sequence of a cache that they follow, where there is one
   * @param unit the number of the {@link Continuations}
   * @param continuation the number of the continuation
   * @param start the place of the first token that is scored, at least 1
   */
  record Row(int source, int unit, int continuation, int start, long[] tokens) {
    /** Returns how many tokens a pass reads: the last one is only scored. */
    int width() {
      return tokens.length - 1;
    }
  }

  RowBatch(List<Row> rows) {
    this.rows = rows;
    width = rows.stream().mapToInt(Row::width).max().orElseThrow();
    input = new long[rows.size() * width];
    targets = new long[input.length];
    for (int i = 0; i < rows.size(); i++) {
      Row row = rows.get(i);
      System.arraycopy(row.tokens(), 0, input, i * width, row.width());
      System.arraycopy(row.tokens(), 1, targets, i * width, row.width());
    }
  }

  /** Returns the tokens that each row reads, padding included. */
  int width() {
    return width;
  }

  /** Returns the token ids {@code [rows, width]}, owned by {@code manager}. */
  NDArray ids(NDManager manager) {
    return manager.create(input, new Shape(rows.size(), width));
  }

  /**
   * Hands out what the logits say of the scored tokens.
   *
   * @param logits {@code [rows, width, vocabulary]}, which are closed
   */
  void score(NDArray logits, ContinuationScorer.Sink sink) {
    TargetLikelihoods result = TargetLikelihoods.of(logits, targets);
    for (int i = 0; i < rows.size(); i++) {
      Row row = rows.get(i);
      for (int at = row.start() - 1; at < row.width(); at++) {
        int index = i * width + at;
        sink.accept(
            row.unit(), row.continuation(), result.logLikelihoods()[index], result.best()[index]);
      }
    }
  }
}
