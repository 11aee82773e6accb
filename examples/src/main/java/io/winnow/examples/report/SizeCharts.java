package io.winnow.examples.report;

import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.LineChart;
import io.winnow.examples.report.result.ComparisonResult;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Perplexity against the size of the checkpoint, one line per method and calibration. */
final class SizeCharts {
  private static final String METHOD = "method";
  private static final String CALIBRATION = "calibration";
  private static final String BYTES = "bytes";
  private static final String PERPLEXITY = "perplexity";
  private static final String UNPRUNED = "unpruned"; // Where every line begins.
  private static final double HUNDREDTH =
      1e4; // Of a megabyte: the axis is labelled with these numbers.

  private SizeCharts() {}

  /**
   * Returns a chart per text, of those on which at least one method has models of two sizes. Models
   * of one method and size, such as random choices of several seeds, count by their mean.
   */
  static List<Figure> of(ComparisonResult comparison) {
    List<Figure> figures = new ArrayList<>();
    for (String column : comparison.columns()) {
      if (column.startsWith(PERPLEXITY)) {
        List<LineChart.Line> lines = lines(comparison, column);
        if (!lines.isEmpty()) {
          String text = column.substring(PERPLEXITY.length()).replaceAll("^[_ ]", "");
          String on = text.isEmpty() ? "" : " on " + text;
          figures.add(
              new Figure(
                  "size-" + Text.slug(column),
                  "Perplexity" + on + " against the size of the checkpoint, by method.",
                  new LineChart(
                      "Size against quality" + Text.shorten(on),
                      "checkpoint, MB",
                      "perplexity" + Text.shorten(on) + " (less is better)",
                      lines)));
        }
      }
    }
    return figures;
  }

  private static List<LineChart.Line> lines(ComparisonResult comparison, String column) {
    Map<String, TreeMap<Double, List<Double>>> methods = new LinkedHashMap<>();
    Map<Double, List<Double>> unpruned = new TreeMap<>();
    boolean several =
        comparison.rows().stream()
                .map(row -> cell(comparison, row, CALIBRATION))
                .filter(calibration -> !calibration.isEmpty())
                .distinct()
                .count()
            > 1;
    for (List<String> row : comparison.rows()) {
      String method = cell(comparison, row, METHOD);
      String bytes = cell(comparison, row, BYTES);
      String perplexity = cell(comparison, row, column);
      if (!isNumber(bytes) || !isNumber(perplexity)) {
        continue;
      }
      String calibration = cell(comparison, row, CALIBRATION);
      String name = several && !calibration.isEmpty() ? method + ", " + calibration : method;
      Map<Double, List<Double>> sizes =
          method.equals(UNPRUNED)
              ? unpruned
              : methods.computeIfAbsent(name, key -> new TreeMap<>());
      sizes
          .computeIfAbsent(
              Math.rint(Double.parseDouble(bytes) / HUNDREDTH) / 100, key -> new ArrayList<>())
          .add(Double.parseDouble(perplexity));
    }
    List<LineChart.Line> lines = new ArrayList<>();
    methods.forEach(
        (name, sizes) -> {
          sizes.putAll(unpruned);
          if (sizes.size() > 1) {
            lines.add(
                new LineChart.Line(
                    name,
                    sizes.keySet().stream().mapToDouble(Double::doubleValue).toArray(),
                    sizes.values().stream()
                        .mapToDouble(
                            values -> values.stream().mapToDouble(v -> v).average().orElseThrow())
                        .toArray(),
                    LineChart.Style.MARKED));
          }
        });
    return lines;
  }

  private static String cell(ComparisonResult comparison, List<String> row, String column) {
    int index = comparison.columns().indexOf(column);
    return index < 0 ? "" : row.get(index);
  }

  private static boolean isNumber(String cell) {
    return cell.matches("[0-9.]+(e[+-]?[0-9]+)?");
  }
}
