package io.winnow.core;

import java.util.Optional;

/**
 * How one MoE layer turns router logits into experts and weights.
 *
 * <p>Implementations are immutable and may be used by several threads. They compute in plain Java
 * on one small array per layer, so that every choice is visible, repeatable and open to a {@link
 * RouterHook}.
 */
public interface Routing {
  /** Returns k, the number of experts that a token selects. */
  int topK();

  /**
   * Selects experts and weights for every token.
   *
   * @param logits router logits, row-major {@code [tokens, experts]}, float32
   * @param experts the number of experts, at least {@link #topK()}
   * @return the selection {@code [tokens, topK]}; a token's experts in descending order of their
   *     selection score, and of two equal scores the lower index first
   * @throws InvalidInputException if a logit is not finite
   */
  RoutingDecision route(float[] logits, int experts);

  /**
   * Selects experts and weights as the layer does when only some experts are left, their rows of
   * the gate alone: like {@link #retain} and then {@link #route} of their logits, but the result
   * names experts by their places in the whole layer, and groups need not be equally large. A token
   * whose groups have too few experts gets {@link RoutingDecision#NONE} with weight 0 for the rest.
   *
   * @param logits router logits of all experts, row-major {@code [tokens, experts]}, float32
   * @param retained the experts that are left, ascending
   * @throws InvalidInputException if fewer than {@link #topK()} are left, or a logit is not finite
   */
  default RoutingDecision routeAmong(float[] logits, int experts, int... retained) {
    int rows = logits.length / experts;
    float[] columns = new float[rows * retained.length];
    for (int row = 0; row < rows; row++) {
      for (int i = 0; i < retained.length; i++) {
        columns[row * retained.length + i] = logits[row * experts + retained[i]];
      }
    }
    RoutingDecision decision = retain(retained).route(columns, retained.length);
    int[] selected = decision.experts();
    for (int i = 0; i < selected.length; i++) {
      selected[i] = retained[selected[i]];
    }
    return RoutingDecision.owning(decision.topK(), selected, decision.weights());
  }

  /**
   * Returns the score of every expert before selection, row-major {@code [tokens, experts]}: what
   * "soft activation" sums.
   */
  float[] scores(float[] logits, int experts);

  /**
   * Returns what experts are compared by where a token selects, row-major {@code [tokens,
   * experts]}; without groups. It tells a search for whose outputs a token may have a use.
   */
  default double[] selectionScores(float[] logits, int experts) {
    float[] scores = scores(logits, experts);
    double[] values = new double[scores.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = scores[i];
    }
    return values;
  }

  /**
   * Returns how selected experts are weighed, if a token always selects the first k of those
   * retained by {@link #selectionScores}; without it, a search has to route again for every subset.
   */
  default Optional<Weighting> weighting() {
    return Optional.empty();
  }

  /**
   * Returns the routing of the layer after its other experts were removed by deleting their rows of
   * the gate, which is what a pruned checkpoint does.
   *
   * @param retained the experts that stay, ascending
   * @throws InvalidInputException if fewer than {@link #topK()} stay, or not equally many of each
   *     of the {@link #groups()}
   */
  Routing retain(int... retained);

  /**
   * Returns the number of groups, equal parts of the experts in order, that must stay equally large
   * when experts are removed; 1 where any may go. A routing with more overrides {@link
   * #routeAmong}, which a search also asks about groups that are not equally large.
   */
  default int groups() {
    return 1;
  }

  /**
   * Returns whether an expert's score multiplies its input instead of its output. Then {@link
   * #scores} are the factors, and all weights are 1.
   */
  default boolean scalesInputs() {
    return false;
  }

  /**
   * Returns whether a token's weights may be compared with each other, so that a small one means a
   * small contribution. Where each has a scale of its own, skipping by weight makes no sense.
   */
  default boolean hasComparableWeights() {
    return true;
  }

  /**
   * Returns whether the weights of the selected experts are divided by their sum, and so depend on
   * their own logits only. Where the selection compares logits, a token that loses none of its
   * selected experts is then not affected by a removal at all.
   */
  boolean isRenormalized();
}
