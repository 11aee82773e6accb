package io.winnow.examples.report;

import io.winnow.core.ExpertMerge;
import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.HeatMap;
import io.winnow.examples.report.chart.LineChart;
import io.winnow.examples.report.result.EvolutionResult;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;

/** EEP (arXiv 2407.00945): the best so far, and the matrices W_RM and W_EM (figure 8). */
final class EvolutionSections {
  private EvolutionSections() {}

  static Optional<Section> curves(List<EvolutionResult> results) {
    List<EvolutionResult> told =
        results.stream().filter(one -> !finite(all(one)).isEmpty()).toList();
    if (told.isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        new Section(
            "evolution",
            "Evolutionary search: best so far",
            List.of(
                "Every model that was tried, in order, and the best up to it. The fitness is the"
                    + " task's own: the mean log-likelihood of a token in nats, or the share of"
                    + " right answers. Where the line is still rising at its end, more evaluations"
                    + " would find better."),
            told.stream().map(EvolutionSections::curve).toList(),
            List.of(table(told))));
  }

  private static List<Double> all(EvolutionResult result) {
    List<Double> all = new ArrayList<>(result.pruningFitness());
    all.addAll(result.mergingFitness());
    return all;
  }

  private static List<Double> finite(List<Double> fitness) {
    return fitness.stream().filter(Double::isFinite).toList();
  }

  private static Figure curve(EvolutionResult result) {
    List<Double> all = all(result);
    int pruning = result.pruningFitness().size();
    List<LineChart.Line> lines = new ArrayList<>();
    add(lines, "pruning", all, IntStream.range(0, pruning), LineChart.Style.POINTS);
    add(lines, "merging", all, IntStream.range(pruning, all.size()), LineChart.Style.POINTS);
    List<Double> best = new ArrayList<>();
    double most = Double.NaN;
    for (double fitness : all) {
      most = Double.isNaN(most) || fitness > most ? fitness : most;
      best.add(most);
    }
    add(lines, "best so far", best, IntStream.range(0, all.size()), LineChart.Style.STEPS);
    return new Figure(
        "evolution-" + Text.slug(result.name()),
        String.format(
            "Fitness of %d evaluations of %s and the best so far, which ends at %s.",
            all.size(), result.name(), number(most)),
        new LineChart(
            Text.shorten(result.name()),
            "evaluations",
            "fitness (task's unit, more is better)",
            lines));
  }

  private static void add(
      List<LineChart.Line> lines,
      String name,
      List<Double> values,
      IntStream places,
      LineChart.Style style) {
    int[] known = places.filter(i -> Double.isFinite(values.get(i))).toArray();
    if (known.length > 0) {
      lines.add(
          new LineChart.Line(
              name,
              Arrays.stream(known).mapToDouble(i -> i + 1).toArray(),
              Arrays.stream(known).mapToDouble(values::get).toArray(),
              style));
    }
  }

  private static Section.Table table(List<EvolutionResult> results) {
    List<List<String>> rows = new ArrayList<>();
    for (EvolutionResult result : results) {
      rows.add(
          List.of(
              result.name(),
              String.valueOf(result.pruningFitness().size()),
              best(result.pruningFitness()),
              String.valueOf(result.mergingFitness().size()),
              best(result.mergingFitness())));
    }
    return new Section.Table(
        "Best fitness of each phase",
        List.of("search", "pruning evaluations", "best", "merging evaluations", "best"),
        rows);
  }

  private static String best(List<Double> fitness) {
    return finite(fitness).stream().max(Double::compare).map(EvolutionSections::number).orElse("");
  }

  private static String number(double fitness) {
    return String.format(Locale.ROOT, "%.4f", fitness);
  }

  static Optional<Section> matrices(List<EvolutionResult> results, ShownLayers layers) {
    if (results.isEmpty()) {
      return Optional.empty();
    }
    List<Figure> figures = new ArrayList<>();
    List<Section.Table> tables = new ArrayList<>();
    List<String> notes = new ArrayList<>();
    for (EvolutionResult result : results) {
      List<Integer> groups = layersOrGroups(result);
      ShownLayers shown = isByLayer(result) ? layers : new ShownLayers(List.of());
      notes.addAll(shown.note(groups));
      List<List<String>> rows = new ArrayList<>();
      for (int group = 0; group < result.best().groups().size(); group++) {
        ExpertMerge merge = result.best().groups().get(group);
        String where = where(result, group);
        if (shown.of(groups).contains(groups.get(group))) {
          String title = where + (results.size() > 1 ? ", " + Text.shorten(result.name(), 14) : "");
          figures.add(matrix(result, group, title, "W_RM", merge.routerMapping()));
          figures.add(matrix(result, group, title, "W_EM", merge.expertMerging()));
        }
        for (int row = 0; row < merge.retained(); row++) {
          rows.add(
              List.of(
                  where,
                  String.valueOf(row),
                  greatest(merge.routerMapping()[row]),
                  greatest(merge.expertMerging()[row])));
        }
      }
      tables.add(
          new Section.Table(
              result.name() + ": what each expert is made of",
              List.of("layers", "expert", "greatest in W_RM", "greatest in W_EM"),
              rows));
    }
    List<String> what = new ArrayList<>();
    what.add(
        "Rows are the experts that remain, columns the original ones; cells in percent. W_RM says"
            + " how much of an original expert's score counts for the new one, W_EM how much of its"
            + " weights goes into it. A row with a single 100 is an expert that stays as it was.");
    notes.stream().distinct().forEach(what::add);
    return Optional.of(
        new Section("matrices", "How experts merge: W_RM and W_EM", what, figures, tables));
  }

  private static boolean isByLayer(EvolutionResult result) {
    return result.best().groups().size() == result.layers().size();
  }

  /** Returns the layers, or where they share a choice in groups by depth, the groups from 1. */
  private static List<Integer> layersOrGroups(EvolutionResult result) {
    return isByLayer(result)
        ? result.layers()
        : IntStream.rangeClosed(1, result.best().groups().size()).boxed().toList();
  }

  private static String where(EvolutionResult result, int group) {
    int number = layersOrGroups(result).get(group);
    return isByLayer(result)
        ? "layer " + number
        : String.format("group %d of %d", number, result.best().groups().size());
  }

  private static Figure matrix(
      EvolutionResult result, int group, String title, String name, double[][] matrix) {
    double[][] percent = new double[matrix.length][];
    for (int row = 0; row < matrix.length; row++) {
      percent[row] = Arrays.stream(matrix[row]).map(element -> 100 * element).toArray();
    }
    double most =
        Arrays.stream(percent).flatMapToDouble(DoubleStream::of).map(Math::abs).max().orElseThrow();
    double end = most == 0 ? 100 : most;
    return new Figure(
        String.format("%s-%s-group-%d", Text.slug(name), Text.slug(result.name()), group + 1),
        String.format(
            "Heat map of %s of %s, %s; the table tells the greatest elements.",
            name, result.name(), where(result, group)),
        new HeatMap(
            name + ", " + title,
            "remaining expert",
            Text.numbers(matrix.length),
            "original expert (cells: %, up to ±" + Text.decimal(end) + ")",
            Text.numbers(matrix[0].length),
            percent,
            -end,
            end,
            true,
            true));
  }

  /** Returns the two elements with the greatest magnitudes of a row. */
  private static String greatest(double[] row) {
    List<String> parts =
        IntStream.range(0, row.length)
            .boxed()
            .filter(i -> row[i] != 0)
            .sorted((one, other) -> Double.compare(Math.abs(row[other]), Math.abs(row[one])))
            .limit(2)
            .map(i -> i + " (" + Text.percent(row[i]) + ")")
            .toList();
    return Text.list(parts);
  }
}
