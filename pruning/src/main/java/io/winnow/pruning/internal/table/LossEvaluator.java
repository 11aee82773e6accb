package io.winnow.pruning.internal.table;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.DoubleConsumer;

/**
 * Computes losses of subsets of a layer's experts from its table. Where a token's candidates hold
 * fewer than k of the retained experts, those that there are stand for all.
 *
 * <p>Of one thread.
 */
public final class LossEvaluator {
  /** Of so many experts every selection has its place in memory. */
  private static final int MEMORY_BITS = 16;

  private final InnerProductTable table;
  private final Routing routing;
  private final int topK;
  private final TokenError error;
  private long truncated;

  /** Creates an evaluator of a layer's subsets. */
  public LossEvaluator(InnerProductTable table) {
    this.table = table;
    routing = table.routing();
    topK = routing.topK();
    error = new TokenError(table);
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
  public double loss(boolean[] retained) {
    GroupedSum sum = new GroupedSum(table.tokensPerGroup());
    forEachError(retained, sum::add);
    return rounded(sum.sumOfRoots());
  }

  /** Shows the squared error of every token, in order, where only some experts are retained. */
  void forEachError(boolean[] retained, DoubleConsumer errors) {
    truncated = 0;
    int[] experts = InnerProductTable.places(retained);
    for (TokenBatch batch : table.batches()) {
      float[] products = table.products(batch);
      if (routing.weighting().isPresent()) {
        Weighting weighting = routing.weighting().get();
        for (int token = 0; token < batch.tokens; token++) {
          errors.accept(ranked(batch, products, weighting, token, retained, experts));
        }
      } else {
        RoutingDecision decision = routing.routeAmong(batch.logits, batch.numExperts, experts);
        for (int token = 0; token < batch.tokens; token++) {
          errors.accept(error.ofRouting(batch, products, decision, token));
          truncated += error.isPartial() ? 1 : 0;
        }
      }
    }
  }

  /**
   * Returns the losses of many subsets, each the same as {@link #loss} of it. Where a token's error
   * depends on its selection alone, each selection is computed once.
   */
  public double[] losses(List<boolean[]> subsets) {
    Optional<Weighting> weighting = routing.weighting();
    if (weighting.isEmpty()
        || weighting.get().divisor() == Divisor.RETAINED
        || table.numExperts() > MEMORY_BITS
        || table.candidates() < table.numExperts()) {
      return subsets.stream()
          .mapToDouble(
              retained -> {
                Interrupts.check();
                return loss(retained);
              })
          .toArray();
    }
    int[] masks = subsets.stream().mapToInt(LossEvaluator::bits).toArray();
    GroupedSum[] sums = new GroupedSum[masks.length];
    Arrays.setAll(sums, i -> new GroupedSum(table.tokensPerGroup()));
    double[] known = new double[1 << table.numExperts()];
    int[] knownOf = new int[known.length]; // Which token's the known one is, counted from 1.
    int counted = 0;
    for (TokenBatch batch : table.batches()) {
      float[] products = table.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        Interrupts.check();
        counted++;
        for (int i = 0; i < masks.length; i++) {
          int selection = selection(batch, token, masks[i]);
          if (knownOf[selection] != counted) {
            knownOf[selection] = counted;
            known[selection] =
                Math.max(0, error.ofSelection(batch, products, weighting.get(), token, topK, 0));
          }
          sums[i].add(known[selection]);
        }
      }
    }
    return Arrays.stream(sums).mapToDouble(sum -> rounded(sum.sumOfRoots())).toArray();
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
        error.places[found++] = place;
        selection |= 1 << place;
      }
    }
    return selection;
  }

  /** Returns the norm of the original output. */
  public double targetNorm() {
    GroupedSum sum = new GroupedSum(table.tokensPerGroup());
    forEachSquaredNorm(sum::add);
    return sum.sumOfRoots();
  }

  /** Shows the squared norm of every token's original output, in order. */
  void forEachSquaredNorm(DoubleConsumer norms) {
    for (TokenBatch batch : table.batches()) {
      float[] products = table.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        norms.accept(error.originalSquare(batch, products, token));
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
        error.places[found++] = place;
      }
    }
    truncated += found < topK ? 1 : 0;
    double mass = weighting.divisor() == Divisor.RETAINED ? mass(batch, token, experts) : 0;
    return Math.max(0, error.ofSelection(batch, products, weighting, token, found, mass));
  }

  private static double mass(TokenBatch batch, int token, int[] experts) {
    double mass = 0;
    for (int expert : experts) {
      mass += batch.allMasses[token * batch.numExperts + expert];
    }
    return mass;
  }
}
