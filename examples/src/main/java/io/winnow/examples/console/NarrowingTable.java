package io.winnow.examples.console;

import io.winnow.pruning.shrink.NarrowingReport;
import java.util.Locale;

/** A report of narrowing as a table of text. */
public final class NarrowingTable {
  private NarrowingTable() {}

  /** Returns a line for each layer, and one for the whole. */
  public static String of(NarrowingReport report) {
    StringBuilder table = new StringBuilder();
    table.append(
        String.format(
            Locale.ROOT,
            "%-5s  %7s  %6s  %11s  %11s  %8s  %s%n",
            "layer",
            "experts",
            "width",
            "error",
            "repaired",
            "lambda",
            "experts with few tokens"));
    for (NarrowingReport.Layer layer : report.layers()) {
      table.append(
          String.format(
              Locale.ROOT,
              "%-5d  %7d  %6d  %9.1f %%  %11s  %8s  %s%n",
              layer.layer(),
              layer.experts(),
              layer.width(),
              100 * layer.errorBefore(),
              layer.lambda() == 0
                  ? "-"
                  : String.format(Locale.ROOT, "%.1f %%", 100 * layer.errorAfter()),
              layer.lambda() == 0 ? "-" : String.valueOf(layer.lambda()),
              layer.fewTokens().isEmpty() ? "-" : layer.fewTokens()));
    }
    table.append(
        String.format(
            Locale.ROOT,
            "%s on %d tokens, %.1f s%n",
            report.provenance().method(),
            report.calibrationTokens(),
            report.time().toMillis() / 1000.0));
    return table.toString();
  }
}
