package io.winnow.core.internal.scoring;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;

/**
 * What logits say of the tokens that followed, {@code [sequences, tokens]}, flattened.
 *
 * @param logLikelihoods the logarithm of each token's probability
 * @param best whether it is the likeliest
 */
public record TargetLikelihoods(float[] logLikelihoods, boolean[] best) {
  /** The logits of one pass, beyond which more sequences are left to another. */
  private static final long LOGIT_BYTES = 256L << 20;

  /**
   * Looks up targets in logits, which are closed.
   *
   * @param logits float32 {@code [sequences, tokens, vocabulary]}
   * @param targets the token that follows each, {@code [sequences * tokens]}
   */
  public static TargetLikelihoods of(NDArray logits, long[] targets) {
    Shape shape = logits.getShape();
    float[] likelihoods;
    boolean[] best = new boolean[targets.length];
    try (NDArray normalized = logits.logSoftmax(-1);
        NDArray index =
            logits.getManager().create(targets, new Shape(shape.get(0), shape.get(1), 1));
        NDArray gathered = normalized.gather(index, 2)) {
      likelihoods = gathered.toFloatArray();
    }
    try (NDArray greedy = logits.argMax(-1)) {
      long[] tokens = greedy.toLongArray();
      for (int i = 0; i < tokens.length; i++) {
        best[i] = tokens[i] == targets[i];
      }
    }
    logits.close();
    return new TargetLikelihoods(likelihoods, best);
  }

  /** Returns how many sequences' logits fit into one pass, at least 1. */
  public static int maxSequences(int length, int vocabulary) {
    return (int) Math.max(1, Math.min(Integer.MAX_VALUE, LOGIT_BYTES / (4L * length * vocabulary)));
  }
}
