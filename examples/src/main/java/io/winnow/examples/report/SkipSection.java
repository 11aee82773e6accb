package io.winnow.examples.report;

import io.winnow.examples.report.chart.BarChart;
import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.result.SkipRates;
import io.winnow.skipping.SkipStatistics;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** How many experts a calibrated policy skips, layer by layer. */
final class SkipSection {
  private SkipSection() {}

  static Optional<Section> of(List<SkipRates> policies) {
    if (policies.isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        new Section(
            "skipping",
            "Experts skipped while generating",
            List.of(
                "The share of the experts behind a token's first that is not evaluated (NAEE,"
                    + " section 3.3), by thresholds calibrated on one text. On other text a layer"
                    + " skips more where its router is surer of its first choice."),
            policies.stream().map(SkipSection::figure).toList(),
            policies.stream().map(SkipSection::table).toList()));
  }

  private static Figure figure(SkipRates rates) {
    List<BarChart.Bars> bars = new ArrayList<>();
    List<String> layers = new ArrayList<>();
    rates
        .statistics()
        .forEach(
            (text, statistics) -> {
              if (bars.isEmpty()) {
                statistics.layers().forEach(one -> layers.add(String.valueOf(one.layer())));
              }
              bars.add(
                  new BarChart.Bars(
                      "on " + Text.shorten(text),
                      statistics.layers().stream().map(one -> 100 * one.rate()).toList()));
            });
    return new Figure(
        "skip-" + Text.slug(rates.name()),
        "Bars: experts skipped in every layer by the thresholds of "
            + rates.name()
            + "; the table has the numbers.",
        new BarChart(
            "Thresholds: " + Text.shorten(rates.name()),
            "layer",
            layers,
            "experts skipped, %",
            100,
            bars));
  }

  private static Section.Table table(SkipRates rates) {
    List<String> head = new ArrayList<>(List.of("layer", "beta"));
    rates.statistics().keySet().forEach(text -> head.add("on " + text));
    List<List<String>> rows = new ArrayList<>();
    List<SkipStatistics.Layer> layers = rates.statistics().values().iterator().next().layers();
    for (int i = 0; i < layers.size(); i++) {
      List<String> row = new ArrayList<>();
      row.add(String.valueOf(layers.get(i).layer()));
      row.add(String.format(Locale.ROOT, "%.4f", rates.policy().betas().get(i)));
      for (SkipStatistics statistics : rates.statistics().values()) {
        row.add(Text.percent(statistics.layers().get(i).rate()));
      }
      rows.add(row);
    }
    List<String> all = new ArrayList<>(List.of("all", ""));
    for (Map.Entry<String, SkipStatistics> entry : rates.statistics().entrySet()) {
      all.add(Text.percent(entry.getValue().rate()));
    }
    rows.add(all);
    return new Section.Table("Thresholds of " + rates.name(), head, rows);
  }
}
