package io.winnow.pruning.internal.table;

import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.Arrays;

/**
 * The losses of all subsets one move away from a given one, from one look at each token.
 *
 * <p>A token's selection changes only where a move drops an expert that it selects, or restores one
 * that it would select; such changes are few, and each token adds its own to the moves that they
 * belong to. With S the token's selection, m the masses, u = sum over S of m_s f_s, W the sum they
 * are divided by and z the output wanted, its squared error is
 *
 * <pre>
 *   |u|^2 / W^2 - 2 &lt;u, z&gt; / W + |z|^2
 * </pre>
 *
 * and of all S without one expert and with another one follows from sums over S without the one,
 * and the inner products with the other. Nothing is subtracted from such a sum, lest a token lose
 * all digits with its heaviest expert.
 *
 * <p>Of one thread, and of one subset at a time. The losses carry rounding errors of a difference;
 * {@link LossEvaluator} has none.
 */
public final class MoveLosses {
  private final InnerProductTable table;
  private final Weighting weighting;
  private final boolean global;
  private final int numExperts;

  private int[] kept = {};
  private int[] dropped = {};
  private final int[] slot; // Of an expert among the kept or the dropped.
  private final boolean[] retained;

  // Sums of squared changes of one group, by the dropped expert, the restored one, and both.
  private double unmoved;
  private final double[] ofDrop;
  private final double[] ofRestore;
  private double[] ofBoth = {}; // [dropped, restored]

  private final double[] restored; // Squared changes by the restorable.
  private final double[] massOfOthers; // Of the kept, but one.
  private final double[] massOfDropped;
  private final SelectionSums at; // The token at hand.

  /** Creates the losses of a layer's subsets; its routing has a weighting. */
  public MoveLosses(InnerProductTable table) {
    this.table = table;
    weighting = table.routing().weighting().orElseThrow();
    global = weighting.divisor() == Divisor.RETAINED;
    numExperts = table.numExperts();
    slot = new int[numExperts];
    retained = new boolean[numExperts];
    ofDrop = new double[numExperts];
    ofRestore = new double[numExperts];
    restored = new double[table.candidates()];
    massOfOthers = new double[numExperts];
    massOfDropped = new double[numExperts];
    at = new SelectionSums(table, weighting, retained);
  }

  /**
   * Returns the losses after dropping one more, in the order of the kept.
   *
   * @param newKept the experts of the subset, ascending
   */
  public double[] ofDrops(int[] newKept) {
    start(newKept, new int[0]);
    double[] losses = new double[kept.length];
    scan(false, losses);
    return losses;
  }

  /**
   * Returns the losses after dropping one and restoring another one, {@code [kept, dropped]}.
   *
   * @param newKept the experts of the subset, ascending
   * @param newDropped the others
   */
  public double[] ofExchanges(int[] newKept, int[] newDropped) {
    start(newKept, newDropped);
    double[] losses = new double[kept.length * dropped.length];
    scan(true, losses);
    return losses;
  }

  private void start(int[] newKept, int[] newDropped) {
    kept = newKept;
    dropped = newDropped;
    Arrays.fill(retained, false);
    for (int i = 0; i < kept.length; i++) {
      retained[kept[i]] = true;
      slot[kept[i]] = i;
    }
    for (int i = 0; i < dropped.length; i++) {
      slot[dropped[i]] = i;
    }
    if (ofBoth.length != kept.length * dropped.length) {
      ofBoth = new double[kept.length * dropped.length];
    }
    clear();
  }

  private void scan(boolean exchange, double[] losses) {
    long inGroup = 0;
    for (TokenBatch batch : table.batches()) {
      Interrupts.check();
      float[] values = table.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        at.look(batch, values, token, exchange);
        if (global) {
          addGlobally(batch, token, exchange);
        } else {
          add(batch, token);
        }
        if (++inGroup == table.tokensPerGroup()) {
          finish(exchange, losses);
          inGroup = 0;
        }
      }
    }
    if (inGroup > 0) {
      finish(exchange, losses);
    }
  }

  private void clear() {
    unmoved = 0;
    Arrays.fill(ofDrop, 0);
    Arrays.fill(ofRestore, 0);
    Arrays.fill(ofBoth, 0);
  }

  private void finish(boolean exchange, double[] losses) {
    for (int drop = 0; drop < kept.length; drop++) {
      double one = unmoved + ofDrop[drop];
      if (!exchange) {
        losses[drop] += Math.sqrt(Math.max(0, one));
      }
      for (int restore = 0; restore < dropped.length; restore++) {
        int both = drop * dropped.length + restore;
        losses[both] += Math.sqrt(Math.max(0, one + ofRestore[restore] + ofBoth[both]));
      }
    }
    clear();
  }

  /** Adds a token whose error depends on its own selection only. */
  private void add(TokenBatch batch, int token) {
    int first = token * batch.candidates;
    double now = at.isUnchanged(batch) ? 0 : at.error(batch, first, at.selected, -1);
    unmoved += now;
    int worst = at.worst();
    for (int i = 0; i < at.selectable; i++) {
      restored[i] = at.error(batch, first, worst, at.others[i]) - now;
      ofRestore[slot[batch.experts[first + at.others[i]]]] += restored[i];
    }
    Arrays.fill(restored, at.selectable, at.restorable, 0);
    for (int left = 0; left < at.selected; left++) {
      double alone = at.error(batch, first, left, at.next) - now;
      int drop = slot[batch.experts[first + at.selection[left]]];
      ofDrop[drop] += alone;
      for (int i = 0; i < at.restorable; i++) {
        double both = at.error(batch, first, left, at.others[i]) - now;
        int restore = slot[batch.experts[first + at.others[i]]];
        ofBoth[drop * dropped.length + restore] += both - alone - restored[i];
      }
    }
  }

  /** Adds a token whose weights all change with every move. */
  private void addGlobally(TokenBatch batch, int token, boolean exchange) {
    int first = token * batch.candidates;
    massOfOthers(batch, token);
    int worst = at.worst();
    for (int drop = 0; drop < kept.length; drop++) {
      int left = at.selected;
      for (int i = 0; i < at.selected; i++) {
        left = batch.experts[first + at.selection[i]] == kept[drop] ? i : left;
      }
      boolean selects = left < at.selected;
      int place = selects ? at.next : -1;
      double mass = place < 0 ? 0 : batch.masses[first + place];
      double square = at.square(left, place, mass);
      double product = at.wantedWithout[left] + (place < 0 ? 0 : mass * at.inner[place]);
      double rest = massOfOthers[drop];
      if (!exchange) {
        ofDrop[drop] += at.error(square, product, rest);
        continue;
      }
      int row = drop * dropped.length;
      for (int restore = 0; restore < dropped.length; restore++) {
        ofBoth[row + restore] += at.error(square, product, rest + massOfDropped[restore]);
      }
      int leaving = selects ? left : worst;
      for (int i = 0; i < (selects ? at.restorable : at.selectable); i++) {
        int restore = slot[batch.experts[first + at.others[i]]];
        double own = massOfDropped[restore];
        ofBoth[row + restore] +=
            at.error(
                    at.square(leaving, at.others[i], own),
                    at.wantedWithout[leaving] + own * at.inner[at.others[i]],
                    rest + own)
                - at.error(square, product, rest + own);
      }
    }
  }

  /** Sums the masses of the kept experts but one, without subtracting that one's. */
  private void massOfOthers(TokenBatch batch, int token) {
    int row = token * numExperts;
    double sum = 0;
    for (int i = 0; i < kept.length; i++) {
      massOfOthers[i] = sum;
      sum += batch.allMasses[row + kept[i]];
    }
    sum = 0;
    for (int i = kept.length - 1; i >= 0; i--) {
      massOfOthers[i] += sum;
      sum += batch.allMasses[row + kept[i]];
    }
    for (int i = 0; i < dropped.length; i++) {
      massOfDropped[i] = batch.allMasses[row + dropped[i]];
    }
  }
}
