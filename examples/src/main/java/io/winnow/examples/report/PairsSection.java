package io.winnow.examples.report;

import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.HeatMap;
import io.winnow.examples.report.result.ExpertPairs;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;
import java.util.stream.IntStream;

/** Pairs of experts that tokens select together (NAEE, figure 5). */
final class PairsSection {
  private PairsSection() {}

  static Optional<Section> of(List<ExpertPairs> counted, ShownLayers layers) {
    // Where every token selects one expert there are none.
    List<ExpertPairs> texts = counted.stream().filter(text -> most(text) > 0).toList();
    if (texts.isEmpty()) {
      return Optional.empty();
    }
    TreeSet<Integer> all = new TreeSet<>();
    texts.forEach(text -> all.addAll(text.layers().keySet()));
    List<Figure> figures = new ArrayList<>();
    List<Section.Table> tables = new ArrayList<>();
    for (ExpertPairs text : texts) {
      double most = text.layers().values().stream().mapToDouble(PairsSection::most).max().orElse(0);
      for (int layer : layers.of(all)) {
        ExpertPairs.Layer counts = text.layers().get(layer);
        if (counts != null) {
          figures.add(figure(text.name(), layer, counts, most));
        }
      }
      tables.add(table(text));
    }
    List<String> what = new ArrayList<>();
    what.add(
        "Each cell is the share of the tokens, in percent, that select both experts; all charts of"
            + " one text have the same colours. An even chart means that the router spreads its"
            + " tokens, cells in strong colours are experts that work as a pair.");
    what.addAll(layers.note(all));
    return Optional.of(new Section("pairs", "Experts chosen together", what, figures, tables));
  }

  private static double most(ExpertPairs text) {
    return text.layers().values().stream().mapToDouble(PairsSection::most).max().orElse(0);
  }

  private static double most(ExpertPairs.Layer counts) {
    return pairs(counts).stream()
        .mapToDouble(pair -> counts.share(pair[0], pair[1]))
        .max()
        .orElse(0);
  }

  private static List<int[]> pairs(ExpertPairs.Layer counts) {
    int n = counts.numExperts();
    return IntStream.range(0, n)
        .boxed()
        .flatMap(one -> IntStream.range(one + 1, n).mapToObj(other -> new int[] {one, other}))
        .toList();
  }

  private static Figure figure(String text, int layer, ExpertPairs.Layer counts, double most) {
    int n = counts.numExperts();
    double[][] shares = new double[n][n];
    for (int one = 0; one < n; one++) {
      for (int other = 0; other < n; other++) {
        shares[one][other] = one == other ? Double.NaN : 100 * counts.share(one, other);
      }
    }
    return new Figure(
        "pairs-" + Text.slug(text) + "-layer-" + layer,
        "Heat map: share of the tokens of "
            + text
            + " that select each pair of experts in layer "
            + layer
            + ". "
            + mostFrequent(counts),
        new HeatMap(
            "Layer " + layer + ", " + Text.shorten(text),
            "expert",
            Text.numbers(n),
            "expert (cells: % of tokens, 0 to " + Text.decimal(100 * most) + ")",
            Text.numbers(n),
            shares,
            0,
            100 * most,
            false,
            true));
  }

  private static String mostFrequent(ExpertPairs.Layer counts) {
    return most(pairs(counts), counts)
        .map(
            pair ->
                String.format(
                    "Most often: %d and %d, %s.",
                    pair[0], pair[1], Text.percent(counts.share(pair[0], pair[1]))))
        .orElse("");
  }

  private static Optional<int[]> most(List<int[]> pairs, ExpertPairs.Layer counts) {
    // Of equal ones the first.
    return pairs.stream().min(Comparator.comparingDouble(pair -> -counts.share(pair[0], pair[1])));
  }

  private static Section.Table table(ExpertPairs text) {
    List<List<String>> rows = new ArrayList<>();
    for (Map.Entry<Integer, ExpertPairs.Layer> entry : text.layers().entrySet()) {
      ExpertPairs.Layer counts = entry.getValue();
      Optional<int[]> pair = most(pairs(counts), counts);
      List<Integer> byUse =
          IntStream.range(0, counts.numExperts())
              .boxed()
              .sorted(Comparator.comparingDouble((Integer one) -> -counts.share(one, one)))
              .toList();
      int first = byUse.get(0);
      int last = byUse.get(byUse.size() - 1);
      rows.add(
          Arrays.asList(
              entry.getKey().toString(),
              pair.map(both -> both[0] + " and " + both[1]).orElse("none"),
              pair.map(both -> Text.percent(counts.share(both[0], both[1]))).orElse(""),
              String.valueOf(first),
              Text.percent(counts.share(first, first)),
              String.valueOf(last),
              Text.percent(counts.share(last, last))));
    }
    return new Section.Table(
        text.name() + ": shares of the tokens",
        List.of(
            "layer", "most frequent pair", "share", "most used", "share", "least used", "share"),
        rows);
  }
}
