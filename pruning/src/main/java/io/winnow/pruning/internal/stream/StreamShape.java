package io.winnow.pruning.internal.stream;

import com.google.common.primitives.Ints;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.TokenSequences;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** How large what exists at the same time is, and what of it is in memory. Immutable. */
public final class StreamShape {
  private static final int MIN_TOKENS = 32;

  private final LayerwiseModel model;
  private final TokenSequences sequences;
  private final boolean needsForward;
  private final long memoryBytes;
  private final int stepTokens;
  private final int batchTokens;

  /**
   * Creates a shape.
   *
   * @param needsForward whether the sequences run through the layers at all
   * @param wantedTokens about how many tokens run through a layer at a time; null for as many as
   *     the memory allows
   * @param memoryBytes for hidden states and experts' outputs
   */
  public StreamShape(
      LayerwiseModel model,
      TokenSequences sequences,
      boolean needsForward,
      @Nullable Integer wantedTokens,
      long memoryBytes) {
    this.model = model;
    this.sequences = sequences;
    this.needsForward = needsForward;
    this.memoryBytes = memoryBytes;
    stepTokens = Ints.saturatedCast(Math.max(MIN_TOKENS, memoryBytes / 2 / bytesPerToken()));
    batchTokens = wantedTokens == null ? stepTokens : wantedTokens;
  }

  /** Returns what the outputs of all experts and the intermediate results of one take. */
  private long bytesPerToken() {
    long experts = model.moeLayers().get(0).numExperts();
    long width = model.hiddenSize();
    return Float.BYTES * ((experts + 4) * width + 3L * model.intermediateSize());
  }

  /** Returns about how many tokens' outputs of all experts may exist at the same time. */
  public int stepTokens() {
    return stepTokens;
  }

  /** Returns about how many tokens run through a layer at a time. */
  int batchTokens() {
    return batchTokens;
  }

  /** Returns how many sequences run through a layer at a time. */
  public int batchSequences() {
    return Math.max(1, batchTokens / sequences.length());
  }

  /** Returns the bytes of all tokens' hidden states. */
  public long hiddenBytes() {
    return needsForward ? Float.BYTES * sequences.tokens() * model.hiddenSize() : 0;
  }

  /** Returns whether they stay in memory, too. */
  boolean hiddenInMemory() {
    return hiddenBytes() <= memoryBytes / 2;
  }

  /** Returns the anonymous memory of a run beside the tables. */
  public long workingBytes() {
    long expert = 3L * Float.BYTES * model.hiddenSize() * model.intermediateSize();
    return expert
        + (hiddenInMemory() ? hiddenBytes() : 0)
        + Math.min(sequences.tokens(), stepTokens) * bytesPerToken();
  }

  /** Some sequences that run through a layer together, up to but without the last. */
  record Batch(int from, int to) {
    int count() {
      return to - from;
    }
  }

  List<Batch> batches() {
    List<Batch> batches = new ArrayList<>();
    for (int from = 0; from < sequences.count(); from += batchSequences()) {
      batches.add(new Batch(from, Math.min(sequences.count(), from + batchSequences())));
    }
    return batches;
  }
}
