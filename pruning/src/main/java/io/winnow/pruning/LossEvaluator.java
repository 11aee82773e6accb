package io.winnow.pruning;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.DoubleConsumer;

/**
 * Computes losses of subsets of a layer's experts from its calibration. Where a token's candidates
 * hold fewer than k of the retained experts, those that there are stand for all.
 *
 * <p>Of one thread.
 */
final class LossEvaluator {
  /** Of so many experts every selection has its place in memory. */
  private static final int MEMORY_BITS = 16;

  /** After so many selections that a token may have, its least error counts as none. */
  private static final int MOST_LOOKS = 50;

  private final LayerCalibration layer;
  private final Routing routing;
  private final int topK;
  private final int[] places;
  private final double[] factors;
  private final int[] used;
  private final int[] placeOf;
  private int count;
  private long truncated;
  private int looks;

  LossEvaluator(LayerCalibration layer) {
    this.layer = layer;
    routing = layer.routing();
    topK = routing.topK();
    places = new int[topK];
    factors = new double[layer.numExperts() + 1];
    used = new int[2 * topK + 1];
    placeOf = new int[layer.numExperts()];
  }

  /** Returns the tokens of the last loss that had fewer than k retained candidates. */
  long truncated() {
    return truncated;
  }

  /**
   * Returns the loss, rounded to 41 binary digits.
   *
   * @param retained by expert
   */
  double loss(boolean[] retained) {
    GroupedSum sum = new GroupedSum(layer.tokensPerGroup());
    forEachError(retained, sum::add);
    return rounded(sum.sumOfRoots());
  }

  /** Shows the squared error of every token, in order, where only some experts are retained. */
  void forEachError(boolean[] retained, DoubleConsumer errors) {
    truncated = 0;
    int[] experts = LayerCalibration.places(retained);
    for (TokenBatch batch : layer.batches()) {
      float[] products = layer.products(batch);
      if (routing.weighting().isPresent()) {
        Weighting weighting = routing.weighting().get();
        for (int token = 0; token < batch.tokens; token++) {
          errors.accept(ranked(batch, products, weighting, token, retained, experts));
        }
      } else {
        RoutingDecision decision = routing.routeAmong(batch.logits, batch.numExperts, experts);
        for (int token = 0; token < batch.tokens; token++) {
          errors.accept(routed(batch, products, decision, token));
        }
      }
    }
  }

  /**
   * Returns the losses of many subsets, each the same as {@link #loss} of it. Where a token's error
   * depends on its selection alone, each selection is computed once.
   */
  double[] losses(List<boolean[]> subsets) {
    Optional<Weighting> weighting = routing.weighting();
    if (weighting.isEmpty()
        || weighting.get().divisor() == Divisor.RETAINED
        || layer.numExperts() > MEMORY_BITS
        || layer.candidates() < layer.numExperts()) {
      return subsets.stream()
          .mapToDouble(
              retained -> {
                ExpertPruner.checkInterrupt();
                return loss(retained);
              })
          .toArray();
    }
    int[] masks = subsets.stream().mapToInt(LossEvaluator::bits).toArray();
    GroupedSum[] sums = new GroupedSum[masks.length];
    Arrays.setAll(sums, i -> new GroupedSum(layer.tokensPerGroup()));
    double[] known = new double[1 << layer.numExperts()];
    int[] knownOf = new int[known.length]; // Which token's the known one is, counted from 1.
    int counted = 0;
    for (TokenBatch batch : layer.batches()) {
      float[] products = layer.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        ExpertPruner.checkInterrupt();
        counted++;
        for (int i = 0; i < masks.length; i++) {
          int selection = selection(batch, token, masks[i]);
          if (knownOf[selection] != counted) {
            knownOf[selection] = counted;
            known[selection] = Math.max(0, error(batch, products, weighting.get(), token, topK, 0));
          }
          sums[i].add(known[selection]);
        }
      }
    }
    return Arrays.stream(sums).mapToDouble(sum -> rounded(sum.sumOfRoots())).toArray();
  }

  /** What is decided of an expert. */
  enum Fate {
    OPEN,
    KEPT,
    DROPPED
  }

  /**
   * Returns what the loss is at least, if each token has its least error: as if the open experts
   * were kept or dropped for it alone. Of routings whose weights depend on the selected alone, and
   * with all experts as candidates.
   *
   * @param fates by expert
   * @param toDrop so many of the open experts must go
   */
  double leastLoss(Fate[] fates, int toDrop) {
    Weighting weighting = routing.weighting().orElseThrow();
    GroupedSum sum = new GroupedSum(layer.tokensPerGroup());
    for (TokenBatch batch : layer.batches()) {
      float[] products = layer.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        looks = 0;
        sum.add(leastError(batch, products, weighting, token, fates, 0, 0, toDrop));
      }
    }
    return rounded(sum.sumOfRoots());
  }

  /** Returns the least error where some are selected and those from a place on are not yet. */
  private double leastError(
      TokenBatch batch,
      float[] products,
      Weighting weighting,
      int token,
      Fate[] fates,
      int from,
      int selected,
      int toDrop) {
    double least = Double.POSITIVE_INFINITY;
    int found = selected;
    int droppable = toDrop;
    for (int place = from; place < batch.candidates; place++) {
      Fate fate = fates[batch.experts[token * batch.candidates + place]];
      if (fate == Fate.DROPPED) {
        continue;
      }
      boolean mustStay = fate == Fate.KEPT || droppable == 0;
      places[found] = place;
      if (found + 1 == topK) {
        if (++looks > MOST_LOOKS) {
          return 0;
        }
        least = Math.min(least, Math.max(0, error(batch, products, weighting, token, topK, 0)));
        if (mustStay || least == 0) {
          return least;
        }
        droppable--;
      } else if (mustStay) {
        found++;
      } else {
        int next = place + 1;
        double chosen =
            leastError(batch, products, weighting, token, fates, next, found + 1, droppable);
        least = Math.min(least, chosen);
        if (least == 0) {
          return 0;
        }
        droppable--;
      }
    }
    return least;
  }

  private static int bits(boolean[] retained) {
    int bits = 0;
    for (int expert = 0; expert < retained.length; expert++) {
      bits |= retained[expert] ? 1 << expert : 0;
    }
    return bits;
  }

  /** Finds the places that a token selects among the experts of a mask; returns them as a mask. */
  private int selection(TokenBatch batch, int token, int retained) {
    int first = token * batch.candidates;
    int selection = 0;
    int found = 0;
    for (int place = 0; found < topK; place++) {
      if ((retained >> batch.experts[first + place] & 1) != 0) {
        places[found++] = place;
        selection |= 1 << place;
      }
    }
    return selection;
  }

  /** Returns the norm of the original output. */
  double targetNorm() {
    GroupedSum sum = new GroupedSum(layer.tokensPerGroup());
    forEachSquaredNorm(sum::add);
    return sum.sumOfRoots();
  }

  /** Shows the squared norm of every token's original output, in order. */
  void forEachSquaredNorm(DoubleConsumer norms) {
    for (TokenBatch batch : layer.batches()) {
      float[] products = layer.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        count = 0;
        addOriginal(batch, token);
        norms.accept(squaredNorm(batch, products, token));
      }
    }
  }

  /** Drops the last 12 binary digits (Veltkamp's splitting). */
  static double rounded(double value) {
    double scaled = value * ((1 << 12) + 1);
    return scaled - (scaled - value);
  }

  /** Returns the squared change of one token's output, whose order of experts is known. */
  private double ranked(
      TokenBatch batch,
      float[] products,
      Weighting weighting,
      int token,
      boolean[] retained,
      int[] experts) {
    int first = token * batch.candidates;
    int found = 0;
    for (int place = 0; place < batch.candidates && found < topK; place++) {
      if (retained[batch.experts[first + place]]) {
        places[found++] = place;
      }
    }
    truncated += found < topK ? 1 : 0;
    double mass = weighting.divisor() == Divisor.RETAINED ? mass(batch, token, experts) : 0;
    return Math.max(0, error(batch, products, weighting, token, found, mass));
  }

  /**
   * Returns the squared change of a token that selects the first of {@link #places}.
   *
   * @param retainedMass the sum of the masses of all retained experts, if they are divided by it
   */
  private double error(
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

  private static double mass(TokenBatch batch, int token, int[] experts) {
    double mass = 0;
    for (int expert : experts) {
      mass += batch.allMasses[token * batch.numExperts + expert];
    }
    return mass;
  }

  /** Returns the squared change of one token's output, which was routed again. */
  private double routed(TokenBatch batch, float[] products, RoutingDecision decision, int token) {
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
    boolean partial = known != whole;
    truncated += partial ? 1 : 0;
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
