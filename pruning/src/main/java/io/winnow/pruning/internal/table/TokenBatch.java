package io.winnow.pruning.internal.table;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import org.jspecify.annotations.Nullable;

/**
 * Calibration tokens that were seen together in one layer, each with its candidates: the experts it
 * selects, then others in descending order of their selection score. A candidate's place is its
 * number in that order.
 */
public final class TokenBatch {
  final int tokens;
  final int numExperts;
  final float[] logits; // [tokens, experts]
  final RoutingDecision selected;
  final int candidates;
  final char[] experts; // [tokens, candidates]

  /**
   * Per token the lower triangle of G_t over its candidates and, where there is one, the target
   * after them; null if not measured.
   */
  float @Nullable [] products;

  boolean withTarget;

  /** {@code [tokens, candidates]}; empty unless the routing has a weighting. */
  double[] masses = {};

  /** {@code [tokens, experts]}; empty unless weights depend on all retained experts. */
  double[] allMasses = {};

  /**
   * Routes the tokens and orders their candidates.
   *
   * @param candidates from k to n
   */
  TokenBatch(float[] logits, int numExperts, Routing routing, int candidates) {
    this.logits = logits;
    this.numExperts = numExperts;
    this.candidates = candidates;
    selected = routing.route(logits, numExperts);
    tokens = selected.tokens();
    experts = new char[tokens * candidates];
    double[] scores = routing.selectionScores(logits, numExperts);
    boolean[] taken = new boolean[numExperts];
    for (int token = 0; token < tokens; token++) {
      order(token, scores, taken);
    }
  }

  private void order(int token, double[] scores, boolean[] taken) {
    int first = token * candidates;
    int filled = 0;
    for (; filled < selected.topK(); filled++) {
      int expert = selected.expert(token, filled);
      experts[first + filled] = (char) expert;
      taken[expert] = true;
    }
    int row = token * numExperts;
    for (int expert = 0; expert < numExperts; expert++) {
      if (taken[expert]) {
        taken[expert] = false;
        continue;
      }
      double score = scores[row + expert];
      int place = filled;
      while (place > selected.topK() && score > scores[row + experts[first + place - 1]]) {
        place--;
      }
      if (place < candidates) {
        int last = Math.min(filled, candidates - 1);
        System.arraycopy(experts, first + place, experts, first + place + 1, last - place);
        experts[first + place] = (char) expert;
        filled = Math.min(filled + 1, candidates);
      }
    }
  }

  /** Takes what was measured. */
  void measured(Routing routing, float[] newProducts, boolean newWithTarget) {
    products = newProducts;
    withTarget = newWithTarget;
    routing.weighting().ifPresent(this::weigh);
  }

  private void weigh(Weighting weighting) {
    double[] all = weighting.masses(logits, numExperts);
    masses = new double[experts.length];
    for (int i = 0; i < masses.length; i++) {
      masses[i] = all[i / candidates * numExperts + experts[i]];
    }
    if (weighting.divisor() == Divisor.RETAINED) {
      allMasses = all;
    }
  }

  /** Returns the vectors of G_t: the candidates and the target, if there is one. */
  int vectors() {
    return candidates + (withTarget ? 1 : 0);
  }

  /** Returns where in the lower triangle of a token a row begins. */
  static int row(int place) {
    return place * (place + 1) / 2;
  }

  /** Returns how many Java bytes the products and orders of one token take. */
  static long bytesPerToken(Routing routing, int numExperts, int candidates, boolean products) {
    long bytes = 4L * numExperts + 8L * routing.topK() + 2L * candidates;
    if (products) {
      bytes += 4L * row(candidates + 1);
      if (routing.weighting().isPresent()) {
        boolean all = routing.weighting().get().divisor() == Divisor.RETAINED;
        bytes += 8L * candidates + (all ? 8L * numExperts : 0);
      }
    }
    return bytes;
  }
}
