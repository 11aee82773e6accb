package io.winnow.examples.console;

import io.winnow.pruning.PruningReport;
import java.util.Locale;
import java.util.OptionalDouble;

/** A pruning report as a table of text. */
public final class ReportTable {
  private ReportTable() {}

  /** Returns a line for each layer, and one for the whole. */
  public static String of(PruningReport report) {
    StringBuilder table = new StringBuilder();
    table.append(
        String.format(
            Locale.ROOT,
            "%-5s  %-24s  %-16s  %10s  %8s  %10s%n",
            "layer",
            "kept",
            "dropped",
            "loss",
            "of norm",
            "runner-up"));
    for (PruningReport.Layer layer : report.layers()) {
      table.append(
          String.format(
              Locale.ROOT,
              "%-5d  %-24s  %-16s  %10s  %8s  %10s%n",
              layer.layer(),
              layer.retained(),
              layer.dropped(),
              number(layer.loss(), 1, "%.3f"),
              number(layer.relativeLoss(), 100, "%.1f %%"),
              layer.losses().size() > 1
                  ? String.format(Locale.ROOT, "%.3f", layer.losses().get(1).loss())
                  : "-"));
    }
    for (PruningReport.PartLoss part : report.parts()) {
      table.append(
          String.format(
              Locale.ROOT,
              "on %s (%d tokens): %.1f %% of norm%n",
              part.name(),
              part.tokens(),
              100 * part.relativeLoss()));
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

  private static String number(OptionalDouble value, double factor, String format) {
    return value.isPresent()
        ? String.format(Locale.ROOT, format, factor * value.getAsDouble())
        : "-";
  }
}
