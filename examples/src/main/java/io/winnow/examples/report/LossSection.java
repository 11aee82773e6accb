package io.winnow.examples.report;

import io.winnow.examples.report.chart.Drawing;
import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.HeatMap;
import io.winnow.examples.report.chart.LineChart;
import io.winnow.examples.report.result.PruningResult;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.SortedMap;
import java.util.TreeMap;

/** The reconstruction loss of each layer against r, the experts retained. */
final class LossSection {
  private static final int MOST_LINES = 8;

  private LossSection() {}

  /** The losses of one calibration and method in percent: per layer, by r. */
  private record Curves(
      String name, SortedMap<Integer, SortedMap<Integer, Double>> layers, List<Integer> retained) {}

  static Optional<Section> of(List<PruningResult> results) {
    List<Curves> curves = curves(results);
    if (curves.isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        new Section(
            "loss",
            "Loss against the experts retained",
            List.of(
                "How much the output of each layer changes when it keeps r experts, in percent of"
                    + " the output's norm (NAEE, equation 3). A layer whose curve stays"
                    + " low can do with fewer experts than one whose curve rises early."),
            curves.stream().map(LossSection::figure).toList(),
            curves.stream().map(LossSection::table).toList()));
  }

  private static List<Curves> curves(List<PruningResult> results) {
    Map<String, List<PruningResult>> groups = new LinkedHashMap<>();
    for (PruningResult result : results) {
      String calibration = result.calibration();
      String key = result.method() + " " + (calibration == null ? result.seed() : calibration);
      groups.computeIfAbsent(key, k -> new ArrayList<>()).add(result);
    }
    List<Curves> curves = new ArrayList<>();
    for (List<PruningResult> group : groups.values()) {
      SortedMap<Integer, SortedMap<Integer, Double>> layers = new TreeMap<>();
      for (PruningResult result : group) {
        for (PruningResult.Layer layer : result.layers()) {
          OptionalDouble percent = layer.percent();
          if (percent.isPresent()) {
            layers
                .computeIfAbsent(layer.layer(), number -> new TreeMap<>())
                .put(result.retained(), percent.getAsDouble());
          }
        }
      }
      List<Integer> retained =
          layers.values().stream()
              .flatMap(one -> one.keySet().stream())
              .distinct()
              .sorted()
              .toList();
      if (retained.size() > 1) {
        curves.add(new Curves(name(group), layers, retained));
      }
    }
    return curves;
  }

  /** Several results of one name are a curve that was computed as such; else every file has its. */
  private static String name(List<PruningResult> group) {
    String first = group.get(0).title();
    return group.stream().filter(one -> one.title().equals(first)).count() > 1
        ? first
        : group.get(0).method() + ", " + group.size() + " reports";
  }

  private static Figure figure(Curves curves) {
    boolean lines = curves.layers().size() <= MOST_LINES;
    String title = Text.shorten(curves.name());
    return new Figure(
        "loss-" + Text.slug(curves.name()),
        "Loss of every layer against the experts retained, calibrated on "
            + curves.name()
            + "; the table has the numbers.",
        lines ? lines(title, curves) : map(title, curves));
  }

  private static Drawing lines(String title, Curves curves) {
    List<LineChart.Line> lines = new ArrayList<>();
    curves
        .layers()
        .forEach(
            (layer, losses) ->
                lines.add(
                    new LineChart.Line(
                        "layer " + layer,
                        losses.keySet().stream().mapToDouble(Integer::doubleValue).toArray(),
                        losses.values().stream().mapToDouble(Double::doubleValue).toArray(),
                        LineChart.Style.MARKED)));
    return new LineChart(
        title, "experts retained per layer", "loss, % of the output's norm", lines);
  }

  /** Of more layers than lines can be told apart. */
  private static Drawing map(String title, Curves curves) {
    List<String> layers = new ArrayList<>();
    double[][] values = new double[curves.layers().size()][curves.retained().size()];
    double most = 0;
    for (Map.Entry<Integer, SortedMap<Integer, Double>> layer : curves.layers().entrySet()) {
      double[] row = values[layers.size()];
      layers.add(layer.getKey().toString());
      for (int column = 0; column < row.length; column++) {
        row[column] = layer.getValue().getOrDefault(curves.retained().get(column), Double.NaN);
        most = Double.isNaN(row[column]) ? most : Math.max(most, row[column]);
      }
    }
    return new HeatMap(
        title,
        "layer",
        layers,
        "experts retained (cells: loss, % of norm, 0 to " + Text.decimal(most) + ")",
        curves.retained().stream().map(String::valueOf).toList(),
        values,
        0,
        most == 0 ? 1 : most,
        false,
        true);
  }

  private static Section.Table table(Curves curves) {
    List<Integer> retained = curves.retained().stream().sorted(Comparator.reverseOrder()).toList();
    List<String> head = new ArrayList<>(List.of("layer"));
    retained.forEach(r -> head.add("r = " + r));
    List<List<String>> rows = new ArrayList<>();
    curves
        .layers()
        .forEach(
            (layer, losses) -> {
              List<String> row = new ArrayList<>(List.of(layer.toString()));
              for (int r : retained) {
                Double loss = losses.get(r);
                row.add(loss == null ? "" : Text.decimal(loss) + " %");
              }
              rows.add(row);
            });
    return new Section.Table(curves.name() + ": loss in each layer", head, rows);
  }
}
