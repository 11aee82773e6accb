package io.winnow.pruning.internal.table;

import io.winnow.core.Weighting;

/**
 * What the loss is at least where the fate of some experts is open: the bound of a branch of a
 * search. Of routings whose weights depend on the selected alone, and with all experts as
 * candidates.
 *
 * <p>Of one thread.
 */
public final class LeastLoss {
  /** After so many selections that a token may have, its least error counts as none. */
  private static final int MOST_LOOKS = 50;

  private final InnerProductTable table;
  private final int topK;
  private final TokenError error;
  private int looks;

  /** Creates a bound of a layer's losses. */
  public LeastLoss(InnerProductTable table) {
    this.table = table;
    topK = table.routing().topK();
    error = new TokenError(table);
  }

  /** What is decided of an expert. */
  public enum Fate {
    /** It may stay or go. */
    OPEN,
    /** It stays. */
    KEPT,
    /** It goes. */
    DROPPED
  }

  /**
   * Returns what the loss is at least, if each token has its least error: as if the open experts
   * were kept or dropped for it alone.
   *
   * @param fates by expert
   * @param toDrop so many of the open experts must go
   */
  public double of(Fate[] fates, int toDrop) {
    Weighting weighting = table.routing().weighting().orElseThrow();
    GroupedSum sum = new GroupedSum(table.tokensPerGroup());
    for (TokenBatch batch : table.batches()) {
      float[] products = table.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        looks = 0;
        sum.add(leastError(batch, products, weighting, token, fates, 0, 0, toDrop));
      }
    }
    return LossEvaluator.rounded(sum.sumOfRoots());
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
      error.places[found] = place;
      if (found + 1 == topK) {
        if (++looks > MOST_LOOKS) {
          return 0;
        }
        least =
            Math.min(
                least, Math.max(0, error.ofSelection(batch, products, weighting, token, topK, 0)));
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
}
