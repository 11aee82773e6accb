package io.winnow.pruning;

import com.google.common.math.BigIntegerMath;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
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

  private final LayerCalibration layer;
  private final LossEvaluator evaluator;
  private final int[] order;
  private final LossEvaluator.Fate[] fates;
  private final long limit;
  private final double subsets;
  private long branches;
  private double closed;
  private SubsetLoss best;

  private OptimalityProof(LayerCalibration layer, SubsetLoss known, long limit) {
    this.layer = layer;
    this.limit = Math.min(limit, MOST_TOKENS / Math.max(1, layer.tokens()));
    best = known;
    evaluator = new LossEvaluator(layer);
    fates = new LossEvaluator.Fate[layer.numExperts()];
    Arrays.fill(fates, LossEvaluator.Fate.OPEN);
    subsets = count(layer.numExperts(), known.dropped().size());
    double[] alone = ActivationScores.leaveOneOut(layer);
    order =
        IntStream.range(0, layer.numExperts())
            .boxed()
            .sorted(Comparator.comparingDouble((Integer expert) -> -alone[expert]))
            .mapToInt(Integer::intValue)
            .toArray();
  }

  /** What is known at the end: the best subset, and whether no other one is better. */
  record Result(SubsetLoss best, boolean proved) {}

  /**
   * Tries to prove that a subset is the best of its size.
   *
   * @param limit the greatest number of branches; fewer are looked at for many tokens
   */
  static Result of(LayerCalibration layer, SubsetLoss known, long limit) {
    Optional<Weighting> weighting = layer.routing().weighting();
    if (weighting.isEmpty()
        || weighting.get().divisor() == Divisor.RETAINED
        || layer.routing().groups() > 1
        || layer.routing().topK() > MOST_PER_TOKEN
        || layer.candidates() < layer.numExperts()
        || limit < layer.numExperts()) {
      return new Result(known, false);
    }
    OptimalityProof proof = new OptimalityProof(layer, known, limit);
    boolean proved = proof.close(0, known.dropped().size());
    return new Result(proof.best, proved);
  }

  /** Looks at all subsets in which some experts' fate is decided; false if it gave up. */
  private boolean close(int decided, int toDrop) {
    ExpertPruner.checkInterrupt();
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
      SubsetLoss leaf = new SubsetLoss(dropped, evaluator.loss(layer.retaining(dropped)));
      best = leaf.compareTo(best) < 0 ? leaf : best;
      closed++;
      return true;
    }
    if (evaluator.leastLoss(fates, toDrop) > best.loss()) {
      closed += count(open, toDrop);
      return true;
    }
    int expert = order[decided];
    fates[expert] = LossEvaluator.Fate.DROPPED;
    boolean all = close(decided + 1, toDrop - 1);
    if (all) {
      fates[expert] = LossEvaluator.Fate.KEPT;
      all = close(decided + 1, toDrop);
    }
    fates[expert] = LossEvaluator.Fate.OPEN;
    return all;
  }

  private boolean isDropped(int expert) {
    return fates[expert] == LossEvaluator.Fate.DROPPED;
  }

  private static double count(int experts, int dropped) {
    return BigIntegerMath.binomial(experts, dropped).doubleValue();
  }
}
