package io.winnow.pruning.internal.table;

import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import java.util.Arrays;

/**
 * What one token selects of a subset and might select after one move, with the inner products that
 * its squared error follows from: of its selection, of that without one, and with another one.
 *
 * <p>Of one thread, and of one token at a time.
 */
final class SelectionSums {
  private final Weighting weighting;
  private final int topK;
  private final boolean[] retained; // Shared with whom asks, who changes it.

  // The token at hand: its selection, the next in line, and the experts dropped before that one.
  final int[] selection;
  final int[] others;
  int selected;
  int next;
  int restorable;
  int selectable; // Those of the restorable that come before the selection's last.

  private final double[] products; // [vector, place in the selection] times the latter's mass
  private final double[] cross; // [vector, one left out]: their sum without the one
  final double[] inner; // <f, z> of vectors
  private final double[] squares; // |f|^2 of vectors
  private final double[] without; // |u|^2 of the selection without one
  final double[] wantedWithout;
  private final double[] massWithout;
  private double wanted; // |z|^2

  SelectionSums(InnerProductTable table, Weighting weighting, boolean[] retained) {
    this.weighting = weighting;
    this.retained = retained;
    topK = table.routing().topK();
    int m = table.candidates();
    selection = new int[topK];
    others = new int[m];
    products = new double[m * topK];
    cross = new double[m * (topK + 1)];
    inner = new double[m];
    squares = new double[m];
    without = new double[topK + 1];
    wantedWithout = new double[topK + 1];
    massWithout = new double[topK + 1];
  }

  /** Finds out what a token selects and might select, and their inner products. */
  void look(TokenBatch batch, float[] values, int token, boolean exchange) {
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
    double scale = weighting.factor() / TokenError.divisorOfAll(batch, weighting, token);
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

  double error(double square, double product, double mass) {
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
  double square(int left, int place, double mass) {
    return place < 0
        ? without[left]
        : without[left] + mass * (mass * squares[place] + 2 * cross[place * (topK + 1) + left]);
  }

  /** Returns the squared error of the selection without one and with another, if there is one. */
  double error(TokenBatch batch, int first, int left, int place) {
    double mass = place < 0 ? 0 : batch.masses[first + place];
    double product = place < 0 ? 0 : mass * inner[place];
    return error(
        square(left, place, mass), wantedWithout[left] + product, massWithout[left] + mass);
  }

  /** Returns whether the selection is that of the whole layer, whose output is wanted. */
  boolean isUnchanged(TokenBatch batch) {
    return !batch.withTarget && selected == topK && selection[topK - 1] == topK - 1;
  }

  /** Returns whose place in the selection a better expert takes. */
  int worst() {
    return selected == topK ? topK - 1 : selected;
  }
}
