package io.winnow.skipping;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;

/** Keeps the first experts of every token. */
record FixedPolicy(int topK) implements SkipPolicy {
  FixedPolicy {
    if (topK < 1) {
      throw new InvalidInputException("A token keeps at least 1 expert, not " + topK);
    }
  }

  @Override
  public RoutingDecision apply(int layer, Routing routing, RoutingDecision decision) {
    return Skips.keep(routing, decision, (token, available) -> topK);
  }
}
