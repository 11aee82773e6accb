package io.winnow.skipping;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;

/** Makes a decision of fewer experts. */
final class Skips {
  private Skips() {}

  /** Says how many of a token's experts stay. */
  interface Kept {
    /** Returns how many experts of this token stay, from 1 to those it has, at least 2. */
    int of(int token, int available);
  }

  /**
   * Keeps each token's first experts. Where the layer divides its weights by their sum, the kept
   * ones are scaled to the sum that all had.
   */
  static RoutingDecision keep(Routing routing, RoutingDecision decision, Kept kept) {
    int topK = decision.topK();
    int[] experts = decision.experts();
    float[] weights = decision.weights();
    boolean changed = false;
    for (int token = 0; token < decision.tokens(); token++) {
      int row = token * topK;
      int available = 0;
      while (available < topK && experts[row + available] != RoutingDecision.NONE) {
        available++;
      }
      int count = available > 1 ? Math.max(1, kept.of(token, available)) : available;
      if (count >= available) {
        continue;
      }
      changed = true;
      double all = 0;
      double rest = 0;
      for (int rank = 0; rank < available; rank++) {
        all += weights[row + rank];
        rest += rank < count ? weights[row + rank] : 0;
      }
      double scale = routing.isRenormalized() && rest > 0 ? all / rest : 1;
      for (int rank = 0; rank < available; rank++) {
        if (rank < count) {
          weights[row + rank] = (float) (weights[row + rank] * scale);
        } else {
          weights[row + rank] = 0;
          experts[row + rank] = RoutingDecision.NONE;
        }
      }
    }
    return changed ? RoutingDecision.of(topK, experts, weights) : decision;
  }

  /** Returns the number of tokens that have an expert: not padding. */
  static long routed(RoutingDecision decision) {
    long routed = 0;
    for (int token = 0; token < decision.tokens(); token++) {
      routed += decision.expert(token, 0) == RoutingDecision.NONE ? 0 : 1;
    }
    return routed;
  }

  /** Returns the number of experts in a decision. */
  static long selected(RoutingDecision decision) {
    long selected = 0;
    for (int expert : decision.experts()) {
      selected += expert == RoutingDecision.NONE ? 0 : 1;
    }
    return selected;
  }
}
