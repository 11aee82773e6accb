package io.winnow.core;

import static com.google.common.base.Preconditions.checkArgument;
import static com.google.common.base.Preconditions.checkElementIndex;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import java.util.Arrays;

/**
 * The experts that a batch of tokens selected in one layer, and the weights their outputs get: both
 * {@code [tokens, topK]}, a token's experts in descending order of importance.
 *
 * <p>An entry without an expert ({@link #NONE}) stands for one that was skipped. Immutable.
 */
public final class RoutingDecision {
  /** Stands in place of an expert where none is evaluated. */
  public static final int NONE = -1;

  private final int topK;
  private final int[] experts;
  private final float[] weights;

  private RoutingDecision(int topK, int[] experts, float[] weights) {
    this.topK = topK;
    this.experts = experts;
    this.weights = weights;
  }

  /**
   * Creates a decision.
   *
   * @param topK entries per token
   * @param experts expert indices or {@link #NONE}, row-major {@code [tokens, topK]}; copied
   * @param weights the weights in the same order; copied
   */
  public static RoutingDecision of(int topK, int[] experts, float[] weights) {
    checkArgument(topK > 0, "topK must be positive, is %s", topK);
    checkArgument(
        experts.length == weights.length && experts.length % topK == 0,
        "%s experts and %s weights do not make rows of %s",
        experts.length,
        weights.length,
        topK);
    return new RoutingDecision(topK, experts.clone(), weights.clone());
  }

  /**
   * Creates a decision from a host's own arrays.
   *
   * @param experts {@code [tokens, topK]} int32 or int64, {@link #NONE} where there is none
   * @param weights {@code [tokens, topK]} float32
   */
  public static RoutingDecision of(NDArray experts, NDArray weights) {
    checkArgument(
        experts.getShape().dimension() == 2 && experts.getShape().equals(weights.getShape()),
        "Experts %s and weights %s must both be [tokens, topK]",
        experts.getShape(),
        weights.getShape());
    int[] ids =
        experts.getDataType() == DataType.INT32
            ? experts.toIntArray()
            : Arrays.stream(experts.toLongArray()).mapToInt(Math::toIntExact).toArray();
    return new RoutingDecision(
        Math.toIntExact(experts.getShape().get(1)), ids, weights.toFloatArray());
  }

  /** Creates a decision from arrays that nobody else keeps. */
  static RoutingDecision owning(int topK, int[] experts, float[] weights) {
    return new RoutingDecision(topK, experts, weights);
  }

  /** Returns the number of tokens. */
  public int tokens() {
    return experts.length / topK;
  }

  /** Returns the number of entries per token. */
  public int topK() {
    return topK;
  }

  /** Returns the expert at a token's rank (0 is the most important), or {@link #NONE}. */
  public int expert(int token, int rank) {
    return experts[index(token, rank)];
  }

  /** Returns the weight at a token's rank. */
  public float weight(int token, int rank) {
    return weights[index(token, rank)];
  }

  private int index(int token, int rank) {
    checkElementIndex(rank, topK, "rank");
    return token * topK + rank;
  }

  /** Returns a copy of the expert indices, row-major {@code [tokens, topK]}. */
  public int[] experts() {
    return experts.clone();
  }

  /** Returns a copy of the weights, row-major {@code [tokens, topK]}. */
  public float[] weights() {
    return weights.clone();
  }

  /**
   * Returns the decision in which some tokens have no expert: those whose result nobody wants, such
   * as padding.
   *
   * @param idle which, {@code [tokens]}
   */
  public RoutingDecision without(boolean[] idle) {
    checkArgument(idle.length == tokens(), "%s flags for %s tokens", idle.length, tokens());
    int[] remaining = experts.clone();
    float[] factors = weights.clone();
    for (int token = 0; token < idle.length; token++) {
      if (idle[token]) {
        Arrays.fill(remaining, token * topK, (token + 1) * topK, NONE);
        Arrays.fill(factors, token * topK, (token + 1) * topK, 0);
      }
    }
    return new RoutingDecision(topK, remaining, factors);
  }

  /** Returns the weight with which a token takes an expert, 0 if it does not. */
  public float weightOf(int token, int expert) {
    for (int rank = 0; rank < topK; rank++) {
      if (experts[token * topK + rank] == expert) {
        return weights[token * topK + rank];
      }
    }
    return 0;
  }

  /**
   * Returns the tokens that take each expert, ascending.
   *
   * @param numExperts more than the greatest index of an expert
   */
  public long[][] tokensByExpert(int numExperts) {
    long[] counts = counts(numExperts);
    long[][] tokens = new long[numExperts][];
    for (int expert = 0; expert < numExperts; expert++) {
      tokens[expert] = new long[(int) counts[expert]];
    }
    int[] filled = new int[numExperts];
    for (int i = 0; i < experts.length; i++) {
      int expert = experts[i];
      if (expert != NONE) {
        tokens[expert][filled[expert]++] = i / topK;
      }
    }
    return tokens;
  }

  /** Returns how often each of {@code numExperts} experts was selected. */
  public long[] counts(int numExperts) {
    long[] counts = new long[numExperts];
    for (int expert : experts) {
      if (expert != NONE) {
        counts[expert]++;
      }
    }
    return counts;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof RoutingDecision that
        && topK == that.topK
        && Arrays.equals(experts, that.experts)
        && Arrays.equals(weights, that.weights);
  }

  @Override
  public int hashCode() {
    return 31 * (31 * topK + Arrays.hashCode(experts)) + Arrays.hashCode(weights);
  }

  @Override
  public String toString() {
    return "RoutingDecision[tokens=" + tokens() + ", topK=" + topK + "]";
  }
}
