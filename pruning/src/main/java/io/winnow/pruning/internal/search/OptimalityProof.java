package io.winnow.pruning.internal.search;

import com.google.common.math.BigIntegerMath;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.LeastLoss;
import io.winnow.pruning.internal.table.LossEvaluator;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * Branch and bound: looks whether any subset is better than the best one known. Experts are decided
 * one after another, first those whose removal alone costs most; a branch is closed where the sum
 * of the least error that each token can have in it, whatever the undecided, exceeds the best loss.
 *
 * <p>It gives up at a number of branches, and early where those looked at closed too little. That
 * is where tokens select many experts, or many are removed: each alone may then still be spared.
 */
final class OptimalityProof {
  /** Beyond this k the bound of one token takes long and tells little. */
  private static final int MOST_PER_TOKEN = 4;

  /** Tokens to look at in all branches together: seconds. */
  private static final long MOST_TOKENS = 20_000_000;

  /** So many branches are looked at before the pace counts. */
  private static final long FIRST_BRANCHES = 100;

  /** The closed share of the subsets must be this part of the used share of the branches. */
  private static final double PACE = 0.2;

  private final InnerProductTable table;
  private final LossEvaluator evaluator;
  private final LeastLoss bound;
  private final int[] order;
  private final LeastLoss.Fate[] fates;
  private final long limit;
  private final double subsets;
  private long branches;
  private double closed;
  private ScoredSubset best;

  private OptimalityProof(InnerProductTable table, ScoredSubset known, long limit) {
    this.table = table;
    this.limit = Math.min(limit, MOST_TOKENS / Math.max(1, table.tokens()));
    best = known;
    evaluator = new LossEvaluator(table);
    bound = new LeastLoss(table);
    fates = new LeastLoss.Fate[table.numExperts()];
    Arrays.fill(fates, LeastLoss.Fate.OPEN);
    subsets = count(table.numExperts(), known.dropped().size());
    double[] alone = ActivationScores.leaveOneOut(table);
    order =
        IntStream.range(0, table.numExperts())
            .boxed()
            .sorted(Comparator.comparingDouble((Integer expert) -> -alone[expert]))
            .mapToInt(Integer::intValue)
            .toArray();
  }

  /** What is known at the end: the best subset, and whether no other one is better. */
  record Result(ScoredSubset best, boolean proved) {}

  /**
   * Tries to prove that a subset is the best of its size.
   *
   * @param limit the greatest number of branches; fewer are looked at for many tokens
   */
  static Result of(InnerProductTable table, ScoredSubset known, long limit) {
    Optional<Weighting> weighting = table.routing().weighting();
    if (weighting.isEmpty()
        || weighting.get().divisor() == Divisor.RETAINED
        || table.routing().groups() > 1
        || table.routing().topK() > MOST_PER_TOKEN
        || table.candidates() < table.numExperts()
        || limit < table.numExperts()) {
      return new Result(known, false);
    }
    OptimalityProof proof = new OptimalityProof(table, known, limit);
    boolean proved = proof.close(0, known.dropped().size());
    return new Result(proof.best, proved);
  }

  /** Looks at all subsets in which some experts' fate is decided; false if it gave up. */
  private boolean close(int decided, int toDrop) {
    Interrupts.check();
    branches++;
    boolean hopeless = branches > FIRST_BRANCHES && closed / subsets < PACE * branches / limit;
    if (branches > limit || hopeless) {
      return false;
    }
    int open = order.length - decided;
    if (toDrop == 0 || toDrop == open) {
      List<Integer> dropped =
          IntStream.range(0, order.length)
              .filter(i -> i >= decided ? toDrop > 0 : isDropped(order[i]))
              .map(i -> order[i])
              .sorted()
              .boxed()
              .toList();
      ScoredSubset leaf = new ScoredSubset(dropped, evaluator.loss(table.retaining(dropped)));
      best = leaf.compareTo(best) < 0 ? leaf : best;
      closed++;
      return true;
    }
    if (bound.of(fates, toDrop) > best.loss()) {
      closed += count(open, toDrop);
      return true;
    }
    int expert = order[decided];
    fates[expert] = LeastLoss.Fate.DROPPED;
    boolean all = close(decided + 1, toDrop - 1);
    if (all) {
      fates[expert] = LeastLoss.Fate.KEPT;
      all = close(decided + 1, toDrop);
    }
    fates[expert] = LeastLoss.Fate.OPEN;
    return all;
  }

  private boolean isDropped(int expert) {
    return fates[expert] == LeastLoss.Fate.DROPPED;
  }

  private static double count(int experts, int dropped) {
    return BigIntegerMath.binomial(experts, dropped).doubleValue();
  }
}
