package io.winnow.examples.report;

import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.HeatMap;
import io.winnow.examples.report.result.PruningResult;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;

/** Which experts are kept under different calibrations (NAEE, figure 4). */
final class KeptSection {
  private KeptSection() {}

  static Optional<Section> of(List<PruningResult> results) {
    if (results.isEmpty()) {
      return Optional.empty();
    }
    List<Figure> figures = results.stream().map(KeptSection::figure).toList();
    Map<Integer, List<PruningResult>> byRetained = new TreeMap<>(Collections.reverseOrder());
    results.forEach(
        one -> byRetained.computeIfAbsent(one.retained(), r -> new ArrayList<>()).add(one));
    List<Section.Table> tables = new ArrayList<>();
    byRetained.forEach((retained, same) -> tables.add(table(retained, same)));
    return Optional.of(
        new Section(
            "kept",
            "Which experts are kept",
            List.of(
                "Filled cells are the experts that stay. Where the charts of two texts differ, the"
                    + " model has experts for one of them; the tables count what they share."),
            figures,
            tables));
  }

  private static Figure figure(PruningResult result) {
    int experts =
        result.layers().stream().mapToInt(PruningResult.Layer::numExperts).max().orElseThrow();
    double[][] kept = new double[result.layers().size()][experts];
    List<String> rows = new ArrayList<>();
    for (int row = 0; row < kept.length; row++) {
      PruningResult.Layer layer = result.layers().get(row);
      rows.add(String.valueOf(layer.layer()));
      for (int expert = 0; expert < experts; expert++) {
        kept[row][expert] =
            layer.kept().contains(expert) ? 1 : expert < layer.numExperts() ? 0 : Double.NaN;
      }
    }
    return new Figure(
        "kept-" + Text.slug(result.name()) + "-r" + result.retained(),
        String.format(
            "Map of the %d experts that %s keeps in each of %d layers; the table lists them.",
            result.retained(), result.title(), rows.size()),
        new HeatMap(
            Text.shorten(result.title()) + ", " + result.retained() + " kept",
            "layer",
            rows,
            "expert (filled: kept)",
            Text.numbers(experts),
            kept,
            0,
            1,
            false,
            false));
  }

  private static Section.Table table(int retained, List<PruningResult> results) {
    TreeSet<Integer> layers = new TreeSet<>();
    results.forEach(one -> one.layers().forEach(layer -> layers.add(layer.layer())));
    List<String> head = new ArrayList<>(List.of("layer"));
    results.forEach(one -> head.add(one.title()));
    boolean several = results.size() > 1;
    if (several) {
      head.add("kept by all");
    }
    List<List<String>> rows = new ArrayList<>();
    for (int number : layers) {
      List<String> row = new ArrayList<>(List.of(String.valueOf(number)));
      TreeSet<Integer> shared = null;
      for (PruningResult result : results) {
        List<Integer> kept =
            result.layers().stream()
                .filter(layer -> layer.layer() == number)
                .findFirst()
                .map(PruningResult.Layer::kept)
                .orElse(List.of());
        row.add(Text.list(kept));
        if (shared == null) {
          shared = new TreeSet<>(kept);
        } else {
          shared.retainAll(kept);
        }
      }
      if (several && shared != null) {
        row.add(shared.size() + " of " + retained + ": " + Text.list(shared));
      }
      rows.add(row);
    }
    return new Section.Table(retained + " experts retained", head, rows);
  }
}
