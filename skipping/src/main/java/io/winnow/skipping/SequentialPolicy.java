package io.winnow.skipping;

import io.winnow.core.MoeModel;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;

/** One policy after another. */
record SequentialPolicy(SkipPolicy first, SkipPolicy second) implements SkipPolicy {
  @Override
  public RoutingDecision apply(int layer, Routing routing, RoutingDecision decision) {
    return second.apply(layer, routing, first.apply(layer, routing, decision));
  }

  @Override
  public void checkFits(MoeModel model) {
    first.checkFits(model);
    second.checkFits(model);
  }
}
