package io.winnow.pruning.internal.search;

import com.google.common.hash.Hashing;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.LossEvaluator;
import io.winnow.pruning.internal.table.MoveLosses;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * Walks from subset to subset of a layer's experts by the exact loss: backward elimination, and
 * exchanges of one dropped for one kept expert until none is better. Where groups must stay equally
 * large, no group loses more than its share, and exchanges are within one.
 *
 * <p>Of one thread.
 */
final class SubsetDescent {
  /** What differs by rounding alone, of the squared norm of the layer's output. */
  private static final double ROUNDING = 1e-13;

  /** So many moves that seem equally good are compared exactly. */
  private static final int EQUALS = 8;

  private final InnerProductTable table;
  private final EqualGroups groups;
  private final LossEvaluator evaluator;
  private final double rounding;
  private final @Nullable MoveLosses moves;
  private int turn;

  SubsetDescent(InnerProductTable table, EqualGroups groups) {
    this.table = table;
    this.groups = groups;
    evaluator = new LossEvaluator(table);
    double norm = evaluator.targetNorm();
    rounding = ROUNDING * norm * norm;
    moves = table.routing().weighting().isPresent() ? new MoveLosses(table) : null;
  }

  /** Drops one expert after another, the one that costs least each time. */
  List<Integer> eliminate(int retained) {
    List<Integer> dropped = List.of();
    while (table.numExperts() - dropped.size() > retained) {
      List<Integer> kept = table.others(dropped);
      double[] losses = moves == null ? new double[kept.size()] : moves.ofDrops(ints(kept));
      List<Move> drops = new ArrayList<>();
      for (int i = 0; i < losses.length; i++) {
        if (groups.mayDrop(kept, kept.get(i), retained)) {
          drops.add(new Move(kept.get(i), null, losses[i]));
        }
      }
      dropped = best(dropped, moves == null ? drops : nearest(drops)).dropped();
    }
    return dropped;
  }

  /** Returns the subset where exchanges end, and the best one next to it. */
  List<ScoredSubset> descend(List<Integer> start) {
    ScoredSubset current = lossOf(start);
    while (true) {
      ScoredSubset next =
          moves == null
              ? firstBetter(current)
              : best(current.dropped(), nearest(exchanges(moves, current.dropped())));
      if (next.compareTo(current) >= 0) {
        return List.of(current, next);
      }
      current = next;
    }
  }

  /** Exchanges some experts by lot. */
  List<Integer> disturb(List<Integer> dropped, int exchanges, long seed) {
    Random random = new Random(Hashing.murmur3_128().hashLong(seed).asLong());
    List<Integer> disturbed = dropped;
    for (int i = 0; i < exchanges; i++) {
      int restore = disturbed.get(random.nextInt(disturbed.size()));
      List<Integer> kept =
          table.others(disturbed).stream()
              .filter(expert -> groups.together(expert, restore))
              .toList();
      int drop = kept.get(random.nextInt(kept.size()));
      disturbed = new Move(drop, restore, 0).from(disturbed);
    }
    return disturbed;
  }

  private List<Move> exchanges(MoveLosses losses, List<Integer> dropped) {
    List<Integer> kept = table.others(dropped);
    double[] values = losses.ofExchanges(ints(kept), ints(dropped));
    List<Move> exchanges = new ArrayList<>();
    int place = 0;
    for (int drop : kept) {
      for (int restore : dropped) {
        double loss = values[place++];
        if (groups.together(drop, restore)) {
          exchanges.add(new Move(drop, restore, loss));
        }
      }
    }
    return exchanges;
  }

  /**
   * Returns a better subset, or the best of all next to this one. Here every loss takes a look at
   * all tokens, so that the walk goes on from the first expert whose return helps, and next time
   * begins behind that one.
   */
  private ScoredSubset firstBetter(ScoredSubset current) {
    List<Integer> kept = table.others(current.dropped());
    List<ScoredSubset> seen = new ArrayList<>();
    for (int i = 0; i < table.numExperts(); i++) {
      int restore = (turn + i) % table.numExperts();
      if (!current.dropped().contains(restore)) {
        continue;
      }
      List<Move> exchanges =
          kept.stream()
              .filter(drop -> groups.together(drop, restore))
              .map(drop -> new Move(drop, restore, 0))
              .toList();
      ScoredSubset next = best(current.dropped(), exchanges);
      if (next.compareTo(current) < 0) {
        turn = restore + 1;
        return next;
      }
      seen.add(next);
    }
    return Collections.min(seen);
  }

  /** A move, and its loss but for rounding. */
  private record Move(int drop, @Nullable Integer restore, double loss) {
    List<Integer> from(List<Integer> dropped) {
      Set<Integer> set = new TreeSet<>(dropped);
      if (restore != null) {
        set.remove(restore);
      }
      set.add(drop);
      return List.copyOf(set);
    }
  }

  /** Returns the moves of which rounding alone may say that they are not the best. */
  private List<Move> nearest(List<Move> candidates) {
    double least = candidates.stream().mapToDouble(Move::loss).min().orElseThrow();
    double border = Math.sqrt(least * least + rounding);
    return candidates.stream()
        .filter(move -> move.loss() <= border)
        .sorted(Comparator.comparingDouble(Move::loss))
        .limit(EQUALS)
        .toList();
  }

  private ScoredSubset best(List<Integer> dropped, List<Move> candidates) {
    return Collections.min(candidates.stream().map(move -> lossOf(move.from(dropped))).toList());
  }

  private ScoredSubset lossOf(List<Integer> dropped) {
    Interrupts.check();
    return new ScoredSubset(dropped, evaluator.loss(table.retaining(dropped)));
  }

  private static int[] ints(List<Integer> values) {
    return values.stream().mapToInt(Integer::intValue).toArray();
  }
}
