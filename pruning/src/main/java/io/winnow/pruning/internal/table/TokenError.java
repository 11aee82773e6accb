package io.winnow.pruning.internal.table;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import java.util.Arrays;

/**
 * The squared error of one token after another whose selection of experts changes. Where a token's
 * candidates hold fewer than k of the retained experts, those that there are stand for all.
 *
 * <p>Of one thread.
 */
final class TokenError {
  /** The places among the candidates that the token at hand selects, the first of them. */
  final int[] places;

  private final Routing routing;
  private final int topK;
  private final double[] factors;
  private final int[] used;
  private final int[] placeOf;
  private int count;
  private boolean partial;

  TokenError(InnerProductTable table) {
    routing = table.routing();
    topK = routing.topK();
    places = new int[topK];
    factors = new double[table.numExperts() + 1];
    used = new int[2 * topK + 1];
    placeOf = new int[table.numExperts()];
  }

  /** Returns whether the token that was routed last selects experts that are no candidates. */
  boolean isPartial() {
    return partial;
  }

  /**
   * Returns the squared change of a token that selects the first of {@link #places}.
   *
   * @param retainedMass the sum of the masses of all retained experts, if they are divided by it
   */
  double ofSelection(
      TokenBatch batch,
      float[] products,
      Weighting weighting,
      int token,
      int found,
      double retainedMass) {
    int first = token * batch.candidates;
    if (found == topK
        && places[topK - 1] == topK - 1
        && !batch.withTarget
        && weighting.divisor() != Divisor.RETAINED) {
      return 0;
    }
    count = 0;
    double divisor =
        switch (weighting.divisor()) {
          case NONE -> 1;
          case RETAINED -> retainedMass;
          case SELECTED -> {
            double mass = weighting.addend();
            for (int i = 0; i < found; i++) {
              mass += batch.masses[first + places[i]];
            }
            yield Math.max(mass, weighting.least());
          }
        };
    for (int i = 0; i < found; i++) {
      add(places[i], weighting.factor() * batch.masses[first + places[i]] / divisor);
    }
    if (batch.withTarget) {
      add(batch.candidates, -1);
    } else {
      double whole = divisorOfAll(batch, weighting, token);
      for (int place = 0; place < topK; place++) {
        add(place, -weighting.factor() * batch.masses[first + place] / whole);
      }
    }
    return squaredNorm(batch, products, token);
  }

  /** Returns what the masses of the experts that the whole layer selects are divided by. */
  static double divisorOfAll(TokenBatch batch, Weighting weighting, int token) {
    if (weighting.divisor() == Divisor.NONE) {
      return 1;
    }
    if (weighting.divisor() == Divisor.RETAINED) {
      double mass = 0;
      for (int i = token * batch.numExperts; i < (token + 1) * batch.numExperts; i++) {
        mass += batch.allMasses[i];
      }
      return mass;
    }
    double mass = weighting.addend();
    for (int place = 0; place < batch.selected.topK(); place++) {
      mass += batch.masses[token * batch.candidates + place];
    }
    return Math.max(mass, weighting.least());
  }

  /** Returns the squared change of one token's output, which was routed again. */
  double ofRouting(TokenBatch batch, float[] products, RoutingDecision decision, int token) {
    int first = token * batch.candidates;
    Arrays.fill(placeOf, -1);
    for (int place = 0; place < batch.candidates; place++) {
      placeOf[batch.experts[first + place]] = place;
    }
    double whole = 0;
    double known = 0;
    for (int rank = 0; rank < decision.topK(); rank++) {
      int expert = decision.expert(token, rank);
      whole += decision.weight(token, rank);
      known += expert >= 0 && placeOf[expert] >= 0 ? decision.weight(token, rank) : 0;
    }
    partial = known != whole;
    double factor = partial && known > 0 && routing.isRenormalized() ? whole / known : 1;
    count = 0;
    for (int rank = 0; rank < decision.topK(); rank++) {
      int expert = decision.expert(token, rank);
      if (expert >= 0 && placeOf[expert] >= 0) {
        add(placeOf[expert], factor * decision.weight(token, rank));
      }
    }
    addOriginal(batch, token);
    return squaredNorm(batch, products, token);
  }

  /** Returns the squared norm of a token's original output. */
  double originalSquare(TokenBatch batch, float[] products, int token) {
    count = 0;
    addOriginal(batch, token);
    return squaredNorm(batch, products, token);
  }

  private void addOriginal(TokenBatch batch, int token) {
    if (batch.withTarget) {
      add(batch.candidates, -1);
      return;
    }
    for (int rank = 0; rank < topK; rank++) {
      add(rank, -batch.selected.weight(token, rank));
    }
  }

  private void add(int place, double factor) {
    for (int i = 0; i < count; i++) {
      if (used[i] == place) {
        factors[i] += factor;
        return;
      }
    }
    used[count] = place;
    factors[count] = factor;
    count++;
  }

  private double squaredNorm(TokenBatch batch, float[] products, int token) {
    int base = token * TokenBatch.row(batch.vectors());
    double sum = 0;
    for (int i = 0; i < count; i++) {
      if (factors[i] == 0) {
        continue;
      }
      double cross = 0;
      for (int j = 0; j < i; j++) {
        int greater = Math.max(used[i], used[j]);
        cross += factors[j] * products[base + TokenBatch.row(greater) + Math.min(used[i], used[j])];
      }
      double square = products[base + TokenBatch.row(used[i]) + used[i]];
      sum += factors[i] * (factors[i] * square + 2 * cross);
    }
    return sum;
  }
}
