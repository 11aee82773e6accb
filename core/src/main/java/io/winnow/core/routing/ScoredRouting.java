package io.winnow.core.routing;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import io.winnow.core.Weighting.Mass;
import io.winnow.core.internal.routing.RetainedExperts;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Scores by softmax or sigmoid, of which a bias may correct the selection only, and groups of
 * experts of which a token may use few (DeepSeek-V2, arXiv 2405.04434, section 2.2; DeepSeek-V3,
 * arXiv 2412.19437, equations 13 to 16; GLM-4.5; ERNIE 4.5). The weights are the uncorrected
 * scores, divided by their sum or not, times a factor.
 *
 * <p>Groups are equal parts of the experts in order. A removal must leave equally many in each.
 * Immutable and thread-safe.
 */
public final class ScoredRouting implements Routing {
  private final Builder form;
  private final int experts;
  private final float @Nullable [] bias;

  private ScoredRouting(Builder form, int experts, float @Nullable [] bias) {
    this.form = form;
    this.experts = experts;
    this.bias = bias;
  }

  /** How logits become scores. */
  public enum Score {
    SOFTMAX,
    SIGMOID
  }

  /** How a group of experts is judged by its experts' corrected scores. */
  public enum GroupScore {
    /** By the greatest. */
    GREATEST,
    /** By the sum of the two greatest. */
    TWO_GREATEST
  }

  /**
   * Starts a routing.
   *
   * @param experts n, the experts that have logits
   * @param topK experts per token
   */
  public static Builder builder(Score score, int experts, int topK) {
    return new Builder(score, experts, topK);
  }

  @Override
  public int topK() {
    return form.topK;
  }

  @Override
  public int groups() {
    return form.groups.count();
  }

  @Override
  public boolean isRenormalized() {
    return form.normalized;
  }

  @Override
  public Routing retain(int... retained) {
    form.groups.checkRetained(experts, retained);
    float[] kept = null;
    if (bias != null) {
      kept = new float[retained.length];
      for (int i = 0; i < kept.length; i++) {
        kept[i] = bias[retained[i]];
      }
    }
    form.check(retained.length);
    return new ScoredRouting(form, retained.length, kept);
  }

  @Override
  public RoutingDecision route(float[] logits, int numExperts) {
    return route(logits, numExperts, null);
  }

  @Override
  public RoutingDecision routeAmong(float[] logits, int numExperts, int... retained) {
    RetainedExperts.checkCount(retained.length, form.topK);
    boolean[] present = new boolean[experts];
    for (int expert : retained) {
      present[expert] = true;
    }
    return route(logits, numExperts, present);
  }

  private RoutingDecision route(float[] logits, int numExperts, boolean @Nullable [] present) {
    int tokens = tokens(logits, numExperts);
    int[] selected = new int[tokens * form.topK];
    float[] weights = new float[selected.length];
    double[] scores = new double[experts];
    double[] corrected = new double[experts];
    for (int token = 0; token < tokens; token++) {
      score(logits, token * experts, present, scores);
      for (int expert = 0; expert < experts; expert++) {
        corrected[expert] = bias == null ? scores[expert] : scores[expert] + bias[expert];
        if (present != null && !present[expert]) {
          corrected[expert] = Double.NEGATIVE_INFINITY;
        }
      }
      form.groups.mask(corrected);
      int out = token * form.topK;
      double sum = 0;
      for (int rank = 0; rank < form.topK; rank++) {
        int best = ExpertGroups.greatest(corrected, 0, experts);
        if (corrected[best] == Double.NEGATIVE_INFINITY) {
          selected[out + rank] = RoutingDecision.NONE;
          continue;
        }
        selected[out + rank] = best;
        corrected[best] = Double.NEGATIVE_INFINITY;
        sum += scores[best];
      }
      double divisor = form.normalized ? Math.max(sum + form.addend, form.least) : 1;
      for (int rank = 0; rank < form.topK; rank++) {
        int expert = selected[out + rank];
        if (expert != RoutingDecision.NONE) {
          weights[out + rank] = (float) (scores[expert] / divisor * form.factor);
        }
      }
    }
    return RoutingDecision.of(form.topK, selected, weights);
  }

  private void score(float[] logits, int row, boolean @Nullable [] present, double[] scores) {
    double greatest = Double.NEGATIVE_INFINITY;
    for (int expert = 0; expert < experts; expert++) {
      SoftmaxRouting.checkFinite(expert, logits[row + expert]);
      if (present == null || present[expert]) {
        greatest = Math.max(greatest, logits[row + expert]);
      }
    }
    double sum = 0;
    for (int expert = 0; expert < experts; expert++) {
      double logit = logits[row + expert];
      scores[expert] =
          form.score == Score.SIGMOID ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit - greatest);
      if (present == null || present[expert]) {
        sum += scores[expert];
      }
    }
    if (form.score == Score.SOFTMAX) {
      for (int expert = 0; expert < experts; expert++) {
        scores[expert] /= sum;
      }
    }
  }

  /** Returns the corrected scores. */
  @Override
  public double[] selectionScores(float[] logits, int numExperts) {
    if (form.score == Score.SOFTMAX && bias == null) {
      return SoftmaxRouting.asDoubles(logits);
    }
    int tokens = tokens(logits, numExperts);
    double[] all = new double[logits.length];
    double[] scores = new double[experts];
    for (int token = 0; token < tokens; token++) {
      score(logits, token * experts, null, scores);
      for (int expert = 0; expert < experts; expert++) {
        all[token * experts + expert] = scores[expert] + (bias == null ? 0 : bias[expert]);
      }
    }
    return all;
  }

  /**
   * Empty where a token uses few groups, and where a removal changes the scores against the
   * correction or the sum that is added to: the order or the weights then depend on all experts.
   */
  @Override
  public Optional<Weighting> weighting() {
    if (form.groups.selected() < form.groups.count()) {
      return Optional.empty();
    }
    if (form.score == Score.SIGMOID) {
      return Optional.of(
          new Weighting(
              Mass.SIGMOID,
              form.normalized ? Divisor.SELECTED : Divisor.NONE,
              form.addend,
              form.least,
              form.factor));
    }
    if (bias != null || form.addend != 0 || form.least != 0) {
      return Optional.empty();
    }
    return Optional.of(
        new Weighting(
            Mass.EXPONENTIAL,
            form.normalized ? Divisor.SELECTED : Divisor.RETAINED,
            0,
            0,
            form.factor));
  }

  /** Returns the uncorrected scores. */
  @Override
  public float[] scores(float[] logits, int numExperts) {
    int tokens = tokens(logits, numExperts);
    float[] all = new float[logits.length];
    double[] scores = new double[experts];
    for (int token = 0; token < tokens; token++) {
      score(logits, token * experts, null, scores);
      for (int expert = 0; expert < experts; expert++) {
        all[token * experts + expert] = (float) scores[expert];
      }
    }
    return all;
  }

  private int tokens(float[] logits, int numExperts) {
    if (numExperts != experts || logits.length % experts != 0) {
      throw new IllegalArgumentException(
          String.format(
              "%d logits of %d experts do not fit a routing of %d",
              logits.length, numExperts, experts));
    }
    return logits.length / experts;
  }

  @Override
  public String toString() {
    String name = form.score == Score.SIGMOID ? "sigmoid" : "softmax";
    return name
        + (bias == null ? "" : " with correction")
        + form.groups
        + ", top-"
        + form.topK
        + (form.normalized ? ", renormalised" : "")
        + (form.factor == 1 ? "" : ", times " + form.factor);
  }

  /** Builds routings. Not thread-safe. */
  public static final class Builder {
    private final Score score;
    private final int experts;
    private final int topK;
    private float @Nullable [] bias;
    private ExpertGroups groups = ExpertGroups.NONE;
    private boolean normalized;
    private double addend;
    private double least;
    private double factor = 1;

    private Builder(Score score, int experts, int topK) {
      this.score = score;
      this.experts = experts;
      this.topK = topK;
    }

    /** Sets what is added to the scores where experts are selected, {@code [experts]}. */
    public Builder optCorrection(float... newBias) {
      bias = newBias.clone();
      return this;
    }

    /**
     * Sets that a token uses the experts of a few groups only.
     *
     * @param newGroups equal parts of the experts, in order
     * @param selected how many of them a token uses
     */
    public Builder optGroups(int newGroups, int selected, GroupScore newScore) {
      groups = new ExpertGroups(newGroups, selected, newScore);
      return this;
    }

    /** Sets that weights are divided by the greater of their sum, plus an addend, and a least. */
    public Builder optNormalized(double newAddend, double newLeast) {
      normalized = true;
      addend = newAddend;
      least = newLeast;
      return this;
    }

    /** Sets a factor of all weights. */
    public Builder optFactor(double newFactor) {
      factor = newFactor;
      return this;
    }

    private void check(int count) {
      if (topK < 1 || topK > count) {
        throw new InvalidInputException(
            String.format(
                "%d experts cannot serve tokens that select %d each; it takes at least %d",
                count, topK, Math.max(1, topK)));
      }
      groups.check(count, topK);
    }

    /**
     * Builds the routing.
     *
     * @throws InvalidInputException if the numbers do not fit each other
     */
    public ScoredRouting build() {
      check(experts);
      if (bias != null && bias.length != experts) {
        throw new InvalidInputException(
            String.format(
                "The correction has %d elements, there are %d experts", bias.length, experts));
      }
      Builder copy = new Builder(score, experts, topK);
      copy.groups = groups;
      copy.normalized = normalized;
      copy.addend = addend;
      copy.least = least;
      copy.factor = factor;
      return new ScoredRouting(copy, experts, bias);
    }
  }
}
