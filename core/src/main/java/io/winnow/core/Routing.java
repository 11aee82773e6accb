package io.winnow.core;

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
   * Returns the score of every expert before selection, row-major {@code [tokens, experts]}: what
   * "soft activation" sums.
   */
  float[] scores(float[] logits, int experts);

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
   * when experts are removed; 1 where any may go.
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
