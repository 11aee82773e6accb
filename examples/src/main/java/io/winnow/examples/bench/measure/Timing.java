package io.winnow.examples.bench.measure;

import ai.djl.Device;
import ai.djl.ndarray.types.DataType;
import com.google.common.base.Stopwatch;
import com.google.common.math.Quantiles;
import com.google.gson.JsonArray;
import io.winnow.core.internal.kernel.fused.MatrixProducts;
import io.winnow.core.internal.kernel.fused.MatrixProducts.Product;
import java.util.List;
import java.util.Locale;

/** Seconds, round by round. */
public final class Timing {
  private static final int RUNS_OF_PRODUCTS = 5;

  private Timing() {}

  /** Returns the seconds since a watch was started. */
  public static double seconds(Stopwatch watch) {
    return watch.elapsed().toNanos() / 1e9;
  }

  /** Returns the median, of two the mean. */
  public static double median(List<Double> seconds) {
    return Quantiles.median().compute(seconds);
  }

  /** Returns every round's figure for a file. */
  public static JsonArray array(List<Double> values) {
    JsonArray array = new JsonArray();
    values.forEach(array::add);
    return array;
  }

  /** Returns median, range and count of what was compared round by round, in a line's words. */
  public static String spread(List<Double> ratios) {
    return String.format(
        Locale.ROOT,
        "%.2f (%.2f to %.2f, median of %d)",
        median(ratios),
        ratios.stream().min(Double::compare).orElseThrow(),
        ratios.stream().max(Double::compare).orElseThrow(),
        ratios.size());
  }

  /** Returns the seconds of matrix products alone; best of some runs. */
  public static double ofProducts(Device device, DataType type, List<Product> products) {
    double best = Double.MAX_VALUE;
    try (MatrixProducts arrays = new MatrixProducts(device, type, products)) {
      for (int i = 0; i <= RUNS_OF_PRODUCTS; i++) {
        best = Math.min(best, arrays.seconds());
      }
    }
    return best;
  }
}
