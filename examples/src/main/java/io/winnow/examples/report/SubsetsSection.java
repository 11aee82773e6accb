package io.winnow.examples.report;

import com.google.common.primitives.Doubles;
import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.LineChart;
import io.winnow.examples.report.result.PruningResult;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;

/** The losses of all subsets of a layer's experts, with the chosen one marked. */
final class SubsetsSection {
  private static final int MOST_POINTS = 1000;

  private SubsetsSection() {}

  /** One layer of a result, all of whose subsets are known. */
  private record Subsets(PruningResult result, PruningResult.Layer layer) {}

  static Optional<Section> of(List<PruningResult> results, ShownLayers layers) {
    Map<Integer, Map<Integer, List<Subsets>>> known = new TreeMap<>(Collections.reverseOrder());
    TreeSet<Integer> all = new TreeSet<>();
    for (PruningResult result : results) {
      for (PruningResult.Layer layer : result.layers()) {
        if (layer.losses().size() > 1 && layer.norm().isPresent() && layer.loss().isPresent()) {
          known
              .computeIfAbsent(result.retained(), r -> new TreeMap<>())
              .computeIfAbsent(layer.layer(), number -> new ArrayList<>())
              .add(new Subsets(result, layer));
          all.add(layer.layer());
        }
      }
    }
    if (known.isEmpty()) {
      return Optional.empty();
    }
    List<Integer> shown = layers.of(all);
    List<Figure> figures = new ArrayList<>();
    List<Section.Table> tables = new ArrayList<>();
    known.forEach(
        (retained, byLayer) -> {
          List<List<String>> rows = new ArrayList<>();
          byLayer.forEach(
              (layer, subsets) -> {
                if (shown.contains(layer)) {
                  figures.add(figure(retained, layer, subsets));
                }
                subsets.forEach(one -> rows.add(row(one)));
              });
          tables.add(
              new Section.Table(
                  retained + " experts retained: loss in percent of the output's norm",
                  List.of("layer", "text", "kept", "chosen", "runner-up", "median", "worst"),
                  rows));
        });
    List<String> what = new ArrayList<>();
    what.add(
        "Every subset of the experts, in the order of its loss. The steeper the curve at its"
            + " beginning, the more the choice matters; where it is flat, many subsets would do as"
            + " well.");
    what.addAll(layers.note(all));
    return Optional.of(new Section("subsets", "Losses of all subsets", what, figures, tables));
  }

  private static Figure figure(int retained, int number, List<Subsets> subsets) {
    List<LineChart.Line> lines = new ArrayList<>();
    List<Double> ranks = new ArrayList<>();
    List<Double> chosen = new ArrayList<>();
    for (Subsets one : subsets) {
      List<Double> losses = one.layer().losses();
      int[] places =
          IntStream.range(0, losses.size())
              .filter(i -> i % (1 + losses.size() / MOST_POINTS) == 0 || i == losses.size() - 1)
              .toArray();
      lines.add(
          new LineChart.Line(
              Text.shorten(one.result().title()),
              IntStream.of(places).mapToDouble(i -> i + 1).toArray(),
              IntStream.of(places).mapToDouble(i -> one.layer().percent(losses.get(i))).toArray(),
              LineChart.Style.PLAIN));
      double loss = one.layer().loss().orElseThrow();
      ranks.add((double) losses.stream().filter(other -> other < loss).count() + 1);
      chosen.add(one.layer().percent(loss));
    }
    lines.add(
        new LineChart.Line(
            "chosen", Doubles.toArray(ranks), Doubles.toArray(chosen), LineChart.Style.HIGHLIGHT));
    int experts = subsets.get(0).layer().numExperts();
    return new Figure(
        "subsets-r" + retained + "-layer-" + number,
        String.format(
            "Losses of all subsets of %d of %d experts in layer %d, ascending; the chosen one is"
                + " marked.",
            retained, experts, number),
        new LineChart(
            String.format("Layer %d, %d of %d experts", number, retained, experts),
            "subsets in the order of their loss (rank)",
            "loss, % of the output's norm",
            lines));
  }

  private static List<String> row(Subsets one) {
    PruningResult.Layer layer = one.layer();
    List<Double> losses = layer.losses();
    return List.of(
        String.valueOf(layer.layer()),
        one.result().title(),
        Text.list(layer.kept()),
        Text.decimal(layer.percent(layer.loss().orElseThrow())),
        Text.decimal(layer.percent(losses.get(1))),
        Text.decimal(layer.percent(losses.get(losses.size() / 2))),
        Text.decimal(layer.percent(losses.get(losses.size() - 1))));
  }
}
