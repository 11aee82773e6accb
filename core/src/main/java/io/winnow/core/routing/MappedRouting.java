package io.winnow.core.routing;

import ai.djl.ndarray.NDArray;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import org.jspecify.annotations.Nullable;

/**
 * The routing of a layer whose n experts were merged into r: the scores {@code W_RM
 * softmax(logits)} take the softmax's place; then comes the top-k, and the division by its sum
 * where the family renormalises (EEP, arXiv 2407.00945, section 3).
 *
 * <p>A score below {@link #LEAST_SCORE}, which a real-valued W_RM can give, counts as that: no
 * weight is negative and no sum zero. Of such experts the lower index comes first, and a token that
 * has no others shares its weight equally among the first k.
 *
 * <p>Where every row of W_RM selects an expert of its own and the family renormalises, this is
 * plain pruning, bit for bit. Immutable and thread-safe.
 */
public final class MappedRouting implements Routing {
  /** What every score is at least. */
  public static final float LEAST_SCORE = 1e-30f;

  private static final float LEAST_TRAINED_SCORE = 1e-6f;

  private final SoftmaxRouting base;
  private final SoftmaxRouting merged;
  private final float[][] mapping;
  private final int @Nullable [] selected;

  private MappedRouting(SoftmaxRouting base, float[][] mapping, int topK) {
    this.base = base;
    this.mapping = mapping;
    merged = SoftmaxRouting.ofLogarithms(topK, base.isRenormalized());
    selected = base.isRenormalized() ? selected(mapping) : null;
  }

  /**
   * Creates a routing.
   *
   * @param base the routing of the n experts
   * @param mapping W_RM {@code [r, n]}, whose elements are rounded to float32
   * @param topK k, from 1 to r
   * @throws InvalidInputException if W_RM is empty, not rectangular or not finite in float32, or a
   *     token cannot select so many
   */
  public static MappedRouting of(SoftmaxRouting base, double[][] mapping, int topK) {
    if (topK < 1 || topK > mapping.length) {
      throw new InvalidInputException(
          String.format(
              "A token cannot select %d of %d merged experts; top-k must be from 1 to %d",
              topK, mapping.length, mapping.length));
    }
    float[][] rounded = new float[mapping.length][mapping[0].length];
    for (int row = 0; row < rounded.length; row++) {
      if (mapping[row].length != rounded[0].length || rounded[0].length == 0) {
        throw new InvalidInputException(
            String.format(
                "Row %d of the router mapping has %d elements, row 0 has %d",
                row, mapping[row].length, rounded[0].length));
      }
      for (int expert = 0; expert < rounded[row].length; expert++) {
        rounded[row][expert] = (float) mapping[row][expert];
        if (!Float.isFinite(rounded[row][expert])) {
          throw new InvalidInputException(
              String.format(
                  "Element [%d, %d] of the router mapping is %s; all must be finite in float32",
                  row, expert, mapping[row][expert]));
        }
      }
    }
    return new MappedRouting(base, rounded, topK);
  }

  /** Returns the expert that each row selects, or null unless each selects one of its own. */
  private static int @Nullable [] selected(float[][] mapping) {
    int[] selected = new int[mapping.length];
    boolean[] used = new boolean[mapping[0].length];
    for (int row = 0; row < mapping.length; row++) {
      int count = 0;
      for (int expert = 0; expert < used.length; expert++) {
        if (mapping[row][expert] != 0) {
          count++;
          selected[row] = expert;
        }
      }
      if (count != 1 || mapping[row][selected[row]] != 1 || used[selected[row]]) {
        return null;
      }
      used[selected[row]] = true;
    }
    return selected;
  }

  /** Returns r, the number of merged experts. */
  public int retained() {
    return mapping.length;
  }

  /** Returns n, the number of experts that have logits. */
  public int numExperts() {
    return mapping[0].length;
  }

  /** Returns a copy of W_RM {@code [r, n]} as it is computed with. */
  public float[][] mapping() {
    float[][] copy = new float[mapping.length][];
    for (int row = 0; row < copy.length; row++) {
      copy[row] = mapping[row].clone();
    }
    return copy;
  }

  @Override
  public int topK() {
    return merged.topK();
  }

  @Override
  public boolean isRenormalized() {
    return base.isRenormalized();
  }

  /** Returns the routing that {@link #mappedLogits} are for. */
  public SoftmaxRouting merged() {
    return merged;
  }

  /** Returns the routing of the merged experts of these rows; it goes on to take n logits. */
  @Override
  public MappedRouting retain(int... retained) {
    merged.retain(retained);
    float[][] rows = new float[retained.length][];
    for (int row = 0; row < rows.length; row++) {
      rows[row] = mapping[retained[row]];
    }
    return new MappedRouting(base, rows, topK());
  }

  /**
   * Selects merged experts, 0 to r - 1, for every token.
   *
   * @param logits {@code [tokens, n]}
   */
  @Override
  public RoutingDecision route(float[] logits, int numExperts) {
    return merged.route(mappedLogits(logits, numExperts), retained());
  }

  /**
   * Returns the scores of the merged experts, {@code W_RM softmax(logits)}.
   *
   * @param logits {@code [tokens, n]}
   * @return row-major {@code [tokens, r]}, each at least {@link #LEAST_SCORE}
   */
  @Override
  public float[] scores(float[] logits, int numExperts) {
    if (numExperts != numExperts()) {
      throw new InvalidInputException(
          String.format(
              "A router mapping [%d, %d] does not fit the logits of %d experts",
              retained(), numExperts(), numExperts));
    }
    float[] original = base.scores(logits, numExperts);
    int tokens = logits.length / numExperts;
    float[] scores = new float[tokens * retained()];
    for (int token = 0; token < tokens; token++) {
      for (int row = 0; row < retained(); row++) {
        double sum = 0;
        for (int expert = 0; expert < numExperts; expert++) {
          SoftmaxRouting.checkFinite(expert, logits[token * numExperts + expert]);
          sum += (double) mapping[row][expert] * original[token * numExperts + expert];
        }
        scores[token * retained() + row] = (float) Math.max(LEAST_SCORE, sum);
      }
    }
    return scores;
  }

  /**
   * Returns what {@link #merged} makes the same weights of: the logarithms of the scores, or where
   * W_RM only selects, the selected logits.
   *
   * @param logits {@code [tokens, n]}
   * @return row-major {@code [tokens, r]}
   */
  public float[] mappedLogits(float[] logits, int numExperts) {
    if (selected == null || numExperts != numExperts()) {
      float[] scores = scores(logits, numExperts);
      for (int i = 0; i < scores.length; i++) {
        scores[i] = (float) Math.log(scores[i]);
      }
      return scores;
    }
    int tokens = logits.length / numExperts;
    float[] columns = new float[tokens * selected.length];
    for (int token = 0; token < tokens; token++) {
      for (int row = 0; row < selected.length; row++) {
        columns[token * selected.length + row] = logits[token * numExperts + selected[row]];
      }
    }
    return columns;
  }

  /**
   * Returns the logarithms of the scores as a differentiable function of logits and W_RM. Scores
   * below 1e-6 count as that here: the slope of a token whose experts have hardly any score would
   * otherwise drown all others, or be infinite.
   *
   * @param logits {@code [tokens, n]} float32
   * @param routerMapping {@code [r, n]} float32, of this routing's shape
   * @return {@code [tokens, r]} float32, owned by the logits' manager
   */
  public NDArray mappedLogits(NDArray logits, NDArray routerMapping) {
    NDArray transposed = routerMapping.transpose();
    transposed.attach(logits.getManager());
    // No number of Java: the graph would keep memory of its array, which is closed at once.
    NDArray least;
    try (NDArray created = logits.getManager().create(LEAST_TRAINED_SCORE)) {
      least = created.duplicate();
    }
    return base.scores(logits).matMul(transposed).maximum(least).log();
  }

  @Override
  public String toString() {
    return "[" + retained() + ", " + numExperts() + "] of " + base + ", then top-" + topK();
  }
}
