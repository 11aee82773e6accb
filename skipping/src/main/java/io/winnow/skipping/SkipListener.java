package io.winnow.skipping;

/**
 * Is told of every skip decision, for statistics or a metrics system. Implementations are
 * thread-safe and quick; without a listener nothing is counted.
 */
@FunctionalInterface
public interface SkipListener {
  /**
   * Is called once per layer and forward pass.
   *
   * @param layer the number of the decoder layer
   * @param tokens the tokens that were routed, without padding
   * @param selected experts that the router selected for them
   * @param skipped how many of these are not evaluated
   */
  void onSkip(int layer, long tokens, long selected, long skipped);
}
