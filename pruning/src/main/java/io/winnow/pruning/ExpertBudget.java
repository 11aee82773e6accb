package io.winnow.pruning;

/**
 * How many experts the layers of a model retain: the same in each, or a total that is divided among
 * them by what each loses. Immutable.
 */
public sealed interface ExpertBudget {
  /**
   * Returns the budget of the same number in every layer, as stock loaders demand.
   *
   * @param retained r
   */
  static ExpertBudget perLayer(int retained) {
    return new PerLayer(retained);
  }

  /**
   * Returns the budget of at most so many experts in all layers together, divided so that the sum
   * of the layers' squared losses is least. Every layer retains at least as many as a token
   * selects. Only this library reads checkpoints whose layers differ.
   *
   * @param total experts
   */
  static ExpertBudget total(int total) {
    return new Total(total);
  }

  /**
   * The same number in every layer.
   *
   * @param retained r
   */
  record PerLayer(int retained) implements ExpertBudget {}

  /**
   * A number for all layers together.
   *
   * @param experts the total
   */
  record Total(int experts) implements ExpertBudget {}
}
