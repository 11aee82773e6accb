package io.winnow.pruning;

import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
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
final class MoveLosses {
  private final LayerCalibration layer;
  private final Weighting weighting;
  private final boolean global;
  private final int numExperts;
  private final int topK;

  private int[] kept = {};
  private int[] dropped = {};
  private final int[] slot; // Of an expert among the kept or the dropped.
  private final boolean[] retained;

  // Sums of squared changes of one group, by the dropped expert, the restored one, and both.
  private double unmoved;
  private final double[] ofDrop;
  private final double[] ofRestore;
  private double[] ofBoth = {}; // [dropped, restored]

  // The token at hand: its selection, the next in line, and the experts dropped before that one.
  private final int[] selection;
  private final int[] others;
  private int selected;
  private int next;
  private int restorable;
  private int selectable; // Those of the restorable that come before the selection's last.

  private final double[] products; // [vector, place in the selection] times the latter's mass
  private final double[] cross; // [vector, one left out]: their sum without the one
  private final double[] inner; // <f, z> of vectors
  private final double[] squares; // |f|^2 of vectors
  private final double[] without; // |u|^2 of the selection without one
  private final double[] wantedWithout;
  private final double[] massWithout;
  private final double[] restored; // Squared changes by the restorable.
  private final double[] massOfOthers; // Of the kept, but one.
  private final double[] massOfDropped;
  private double wanted; // |z|^2

  MoveLosses(LayerCalibration layer) {
    this.layer = layer;
    weighting = layer.routing().weighting().orElseThrow();
    global = weighting.divisor() == Divisor.RETAINED;
    numExperts = layer.numExperts();
    topK = layer.routing().topK();
    slot = new int[numExperts];
    retained = new boolean[numExperts];
    ofDrop = new double[numExperts];
    ofRestore = new double[numExperts];
    int m = layer.candidates();
    selection = new int[topK];
    others = new int[m];
    products = new double[m * topK];
    cross = new double[m * (topK + 1)];
    inner = new double[m];
    squares = new double[m];
    without = new double[topK + 1];
    wantedWithout = new double[topK + 1];
    massWithout = new double[topK + 1];
    restored = new double[m];
    massOfOthers = new double[numExperts];
    massOfDropped = new double[numExperts];
  }

  /**
   * Returns the losses after dropping one more, in the order of the kept.
   *
   * @param newKept the experts of the subset, ascending
   */
  double[] ofDrops(int[] newKept) {
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
  double[] ofExchanges(int[] newKept, int[] newDropped) {
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
    for (TokenBatch batch : layer.batches()) {
      ExpertPruner.checkInterrupt();
      float[] values = layer.products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        look(batch, values, token, exchange);
        if (global) {
          addGlobally(batch, token, exchange);
        } else {
          add(batch, token);
        }
        if (++inGroup == layer.tokensPerGroup()) {
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

  /** Finds out what a token selects and might select, and their inner products. */
  private void look(TokenBatch batch, float[] values, int token, boolean exchange) {
    int first = token * batch.candidates;
    selected = 0;
    next = -1;
    restorable = 0;
    selectable = 0;
    for (int place = 0; place < batch.candidates; place++) {
      if (!retained[batch.experts[first + place]]) {
        if (exchange) {
          others[restorable++] = place;
        }
      } else if (selected < topK) {
        selection[selected++] = place;
        if (selected == topK) {
          selectable = restorable;
        }
      } else {
        next = place;
        break;
      }
    }
    if (selected < topK) {
      selectable = restorable;
    }
    int base = token * TokenBatch.row(batch.vectors());
    lookAtTarget(batch, values, token, base);
    for (int i = 0; i < selected; i++) {
      measure(values, base, first, batch, selection[i]);
    }
    for (int i = 0; i < restorable; i++) {
      measure(values, base, first, batch, others[i]);
    }
    if (next >= 0) {
      measure(values, base, first, batch, next);
    }
    for (int left = 0; left <= selected; left++) {
      withoutOne(batch, first, left);
    }
  }

  /** Computes what is wanted, and its products with every vector of interest. */
  private void lookAtTarget(TokenBatch batch, float[] values, int token, int base) {
    int end = next >= 0 ? next + 1 : batch.candidates;
    if (batch.withTarget) {
      int row = base + TokenBatch.row(batch.candidates);
      for (int place = 0; place < end; place++) {
        inner[place] = values[row + place];
      }
      wanted = values[row + batch.candidates];
      return;
    }
    int first = token * batch.candidates;
    double scale = weighting.factor() / LossEvaluator.divisorOfAll(batch, weighting, token);
    Arrays.fill(inner, 0, Math.max(end, topK), 0);
    for (int place = 0; place < end; place++) {
      double sum = 0;
      for (int original = 0; original < topK; original++) {
        int a = Math.max(place, original);
        int b = Math.min(place, original);
        sum += batch.masses[first + original] * values[base + TokenBatch.row(a) + b];
      }
      inner[place] = scale * sum;
    }
    wanted = 0;
    for (int original = 0; original < topK; original++) {
      wanted += scale * batch.masses[first + original] * inner[original];
    }
  }

  /** Reads a vector's products with the selection. */
  private void measure(float[] values, int base, int first, TokenBatch batch, int place) {
    squares[place] = values[base + TokenBatch.row(place) + place];
    for (int i = 0; i < selected; i++) {
      int a = Math.max(place, selection[i]);
      int b = Math.min(place, selection[i]);
      products[place * topK + i] =
          batch.masses[first + selection[i]] * values[base + TokenBatch.row(a) + b];
    }
    int row = place * (topK + 1);
    double sum = 0;
    for (int i = 0; i < selected; i++) {
      cross[row + i] = sum;
      sum += products[place * topK + i];
    }
    cross[row + selected] = sum;
    sum = 0;
    for (int i = selected - 1; i >= 0; i--) {
      cross[row + i] += sum;
      sum += products[place * topK + i];
    }
  }

  /** Sums over the selection without one, or over all of it where that one is none of it. */
  private void withoutOne(TokenBatch batch, int first, int left) {
    double square = 0;
    double product = 0;
    double mass = 0;
    for (int i = 0; i < selected; i++) {
      if (i == left) {
        continue;
      }
      int place = selection[i];
      double own = batch.masses[first + place];
      double before = 0;
      for (int j = 0; j < i; j++) {
        before += j == left ? 0 : products[place * topK + j];
      }
      square += own * (own * squares[place] + 2 * before);
      product += own * inner[place];
      mass += own;
    }
    without[left] = square;
    wantedWithout[left] = product;
    massWithout[left] = mass;
  }

  private double error(double square, double product, double mass) {
    if (mass <= 0) {
      return wanted; // Nothing is left.
    }
    double divisor =
        weighting.divisor() == Divisor.NONE
            ? 1
            : Math.max(mass + weighting.addend(), weighting.least());
    double scale = weighting.factor() / divisor;
    return (square * scale - 2 * product) * scale + wanted;
  }

  /** Returns |u|^2 of the selection without one and with another vector, if there is one. */
  private double square(int left, int place, double mass) {
    return place < 0
        ? without[left]
        : without[left] + mass * (mass * squares[place] + 2 * cross[place * (topK + 1) + left]);
  }

  /** Returns the squared error of the selection without one and with another, if there is one. */
  private double error(TokenBatch batch, int first, int left, int place) {
    double mass = place < 0 ? 0 : batch.masses[first + place];
    double product = place < 0 ? 0 : mass * inner[place];
    return error(
        square(left, place, mass), wantedWithout[left] + product, massWithout[left] + mass);
  }

  /** Adds a token whose error depends on its own selection only. */
  private void add(TokenBatch batch, int token) {
    int first = token * batch.candidates;
    boolean unchanged = !batch.withTarget && selected == topK && selection[topK - 1] == topK - 1;
    double now = unchanged ? 0 : error(batch, first, selected, -1);
    unmoved += now;
    int worst = selected == topK ? topK - 1 : selected; // A better one takes its place.
    for (int i = 0; i < selectable; i++) {
      restored[i] = error(batch, first, worst, others[i]) - now;
      ofRestore[slot[batch.experts[first + others[i]]]] += restored[i];
    }
    Arrays.fill(restored, selectable, restorable, 0);
    for (int left = 0; left < selected; left++) {
      double alone = error(batch, first, left, next) - now;
      int drop = slot[batch.experts[first + selection[left]]];
      ofDrop[drop] += alone;
      for (int i = 0; i < restorable; i++) {
        double both = error(batch, first, left, others[i]) - now;
        int restore = slot[batch.experts[first + others[i]]];
        ofBoth[drop * dropped.length + restore] += both - alone - restored[i];
      }
    }
  }

  /** Adds a token whose weights all change with every move. */
  private void addGlobally(TokenBatch batch, int token, boolean exchange) {
    int first = token * batch.candidates;
    massOfOthers(batch, token);
    int worst = selected == topK ? topK - 1 : selected;
    for (int drop = 0; drop < kept.length; drop++) {
      int left = selected;
      for (int i = 0; i < selected; i++) {
        left = batch.experts[first + selection[i]] == kept[drop] ? i : left;
      }
      boolean selects = left < selected;
      int place = selects ? next : -1;
      double mass = place < 0 ? 0 : batch.masses[first + place];
      double square = square(left, place, mass);
      double product = wantedWithout[left] + (place < 0 ? 0 : mass * inner[place]);
      double rest = massOfOthers[drop];
      if (!exchange) {
        ofDrop[drop] += error(square, product, rest);
        continue;
      }
      int row = drop * dropped.length;
      for (int restore = 0; restore < dropped.length; restore++) {
        ofBoth[row + restore] += error(square, product, rest + massOfDropped[restore]);
      }
      int leaving = selects ? left : worst;
      for (int i = 0; i < (selects ? restorable : selectable); i++) {
        int restore = slot[batch.experts[first + others[i]]];
        double own = massOfDropped[restore];
        ofBoth[row + restore] +=
            error(
                    square(leaving, others[i], own),
                    wantedWithout[leaving] + own * inner[others[i]],
                    rest + own)
                - error(square, product, rest + own);
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
