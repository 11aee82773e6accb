package io.winnow.core;

/**
 * Is asked after a layer has routed its tokens, and says what remains.
 *
 * <p>A hook may be called by several threads at once.
 */
@FunctionalInterface
public interface RouterHook {
  /**
   * Returns the decision to follow.
   *
   * @param layer the layer that routed
   * @param logits its router logits, row-major {@code [tokens, experts]}; not to be changed
   * @param decision what its routing made of them; a token that is padding, or of a sequence that
   *     has ended, has no expert
   * @return {@code decision} itself, or another one for the same tokens
   */
  RoutingDecision onRouting(MoeLayerView layer, float[] logits, RoutingDecision decision);
}
