package io.winnow.examples.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.RoutingDecision;
import io.winnow.examples.report.chart.Drawing;
import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.HeatMap;
import io.winnow.examples.report.chart.Theme;
import io.winnow.examples.report.result.ComparisonResult;
import io.winnow.examples.report.result.EvolutionResult;
import io.winnow.examples.report.result.ExpertPairs;
import io.winnow.examples.report.result.PruningResult;
import io.winnow.examples.report.result.SkipRates;
import io.winnow.pruning.evolve.Individual;
import io.winnow.skipping.BetaSkipPolicy;
import io.winnow.skipping.SkipStatistics;
import java.awt.Font;
import java.awt.font.FontRenderContext;
import java.awt.image.BufferedImage;
import java.awt.image.IndexColorModel;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.knowm.xchart.HeatMapChart;
import org.knowm.xchart.internal.chartpart.Chart;

/** What a report promises, on results made up here. */
class ReportTest {
  @TempDir private Path folder;

  private static PruningResult result(
      String name, int layers, int experts, int retained, double scale) {
    List<Integer> all = IntStream.range(0, experts).boxed().toList();
    return new PruningResult(
        name,
        "reconstruction",
        "sha256:" + name,
        0,
        retained,
        IntStream.range(0, layers)
            .mapToObj(
                layer ->
                    new PruningResult.Layer(
                        layer,
                        all.subList(0, retained),
                        all.subList(retained, experts),
                        OptionalDouble.of(scale * (experts - retained)),
                        scale == 0 ? OptionalDouble.empty() : OptionalDouble.of(100 * scale),
                        retained == experts
                            ? List.of(0.0)
                            : IntStream.range(0, 70)
                                .mapToObj(i -> scale * (experts - retained + i))
                                .toList()))
            .toList());
  }

  private static EvolutionResult evolution(int layers, int groups, Double... merging) {
    double[][] matrix = new double[4][8];
    for (int row = 0; row < 4; row++) {
      matrix[row][row] = 1;
      matrix[row][7] = -0.25 * row;
    }
    List<ExpertMerge> merges = new ArrayList<>();
    for (int group = 0; group < groups; group++) {
      merges.add(
          group == 0 ? ExpertMerge.ofRetained(8, 0, 2, 4, 6) : ExpertMerge.of(matrix, matrix));
    }
    return new EvolutionResult(
        "evolve",
        new Individual(merges, 2),
        IntStream.range(0, layers).boxed().toList(),
        List.of(-3.0, Double.NaN, -2.5),
        List.of(merging));
  }

  private static ExpertPairs pairs(String name, int layers, int experts) {
    ExpertPairs pairs = new ExpertPairs(name);
    for (int layer = 0; layer < layers; layer++) {
      int first = layer % experts;
      pairs.onRouting(
          new LayerStub(layer, experts),
          new float[0],
          RoutingDecision.of(
              2,
              new int[] {first, (first + 1) % experts, first, (first + 2) % experts},
              new float[] {0.6f, 0.4f, 0.5f, 0.5f}));
    }
    return pairs;
  }

  private static SkipRates skipRates(int layers) {
    SkipStatistics statistics =
        new SkipStatistics(
            IntStream.range(0, layers)
                .mapToObj(layer -> new SkipStatistics.Layer(layer, 100, 200, 40 + layer))
                .toList());
    return new SkipRates(
        "code",
        BetaSkipPolicy.of(
            BetaSkipPolicy.Rule.RATIO,
            IntStream.range(0, layers).boxed().toList(),
            IntStream.range(0, layers).mapToObj(layer -> 0.5).toList()),
        Map.of("code", statistics));
  }

  /** Everything, with so many layers and experts. */
  private static Report everything(int layers, int experts) {
    Report.Builder report = Report.builder("Experts of <model>").addFact("Experts", "a & b");
    for (String name : List.of("code", "prose-of-a-file-with-a-rather-long-name-2026")) {
      report.addPruning(result(name, layers, experts, experts / 2, 3.5));
      report.addCurvePoint(result(name, layers, experts, experts - 1, 3.5));
      report.addPairs(pairs(name, layers, experts));
    }
    return report
        .addSkipRates(skipRates(layers))
        .addEvolution(evolution(4, 4, -2.25, -2.75))
        .addComparison(new ComparisonResult(List.of("method"), List.of(List.of("<b>"))))
        .build();
  }

  /** What can be drawn at all, in extremes. */
  private static Stream<Report> reports() {
    return Stream.of(
        everything(4, 8),
        everything(32, 64),
        // One point, nothing finite, nothing lost, no pair.
        Report.builder("Extremes")
            .addPruning(result("nothing lost", 2, 4, 2, 0))
            .addCurvePoint(result("nothing lost", 2, 4, 4, 0))
            .addEvolution(evolution(1, 1))
            .addPairs(pairs("one pair", 1, 3))
            .build());
  }

  private static List<Figure> figures(Report report) {
    return report.sections().stream().flatMap(section -> section.figures().stream()).toList();
  }

  private static BufferedImage read(byte[] png) {
    try {
      return ImageIO.read(new ByteArrayInputStream(png));
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @MethodSource("reports")
  void everyChartHasATitleAndNamesItsAxesAndIsDescribedInWords(Report report) {
    assertThat(figures(report))
        .isNotEmpty()
        .allSatisfy(
            figure -> {
              Chart<?, ?> chart = figure.drawing().draw(Theme.LIGHT);
              assertThat(chart.getWidth()).isEqualTo(Drawing.WIDTH);
              assertThat(figure.alt()).isNotBlank();
              assertFits(chart.getTitle(), Font.BOLD, 12, Drawing.WIDTH - 10);
              assertFits(chart.getXAxisTitle(), Font.PLAIN, 11, Drawing.WIDTH - 60);
              assertFits(chart.getYAxisTitle(), Font.PLAIN, 11, chart.getHeight() - 40);
            });
    assertThat(figures(report).stream().map(Figure::name)).doesNotHaveDuplicates();
  }

  private static void assertFits(String text, int style, int size, int pixels) {
    assertThat(text).isNotBlank();
    assertThat(
            new Font(Font.SANS_SERIF, style, size)
                .getStringBounds(text, new FontRenderContext(null, true, false))
                .getWidth())
        .as(text)
        .isLessThan(pixels);
  }

  @ParameterizedTest
  @MethodSource("reports")
  void everyPictureShowsSomethingOnTheBackgroundOfItsPage(Report report) {
    List<Figure> figures = figures(report);
    for (Theme theme : Theme.values()) {
      for (int i = 0; i < figures.size(); i += 1 + figures.size() / 8) {
        byte[] png = figures.get(i).png(theme);
        BufferedImage image = read(png);
        int width = image.getWidth();
        int background = theme.background().getRGB();
        assertThat(width).isEqualTo(Figure.SCALE * Drawing.WIDTH);
        assertThat(image.getRGB(0, 0)).isEqualTo(background);
        int[] pixels = image.getRGB(0, 0, width, image.getHeight(), null, 0, width);
        assertThat(((IndexColorModel) image.getColorModel()).getMapSize()).isBetween(8, 256);
        assertThat(Arrays.stream(pixels).filter(pixel -> pixel != background).count())
            .as(figures.get(i).name())
            .isGreaterThan(5000);
        if (i == 0) {
          assertThat(figures.get(i).png(theme)).isEqualTo(png);
        }
      }
    }
    assertThat(figures.get(0).png(Theme.LIGHT)).isNotEqualTo(figures.get(0).png(Theme.DARK));
  }

  @Test
  void manyLayersGetEightChartsFromTheFirstToTheLastUnlessOthersAreWanted() {
    List<Integer> layers = IntStream.range(0, 32).boxed().toList();
    assertThat(new ShownLayers(List.of()).of(layers)).containsExactly(0, 4, 9, 13, 18, 22, 27, 31);
    assertThat(new ShownLayers(List.of()).note(layers))
        .singleElement()
        .asString()
        .contains("8 of 32");
    assertThat(new ShownLayers(List.of()).of(layers.subList(0, 8))).hasSize(8);
    assertThat(new ShownLayers(List.of()).note(layers.subList(0, 8))).isEmpty();
    assertThat(new ShownLayers(List.of(31, 2)).of(layers)).containsExactly(2, 31);
    assertThatThrownBy(
            () -> Report.builder("x").addPairs(pairs("x", 2, 4)).optLayers(List.of(7)).build())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("none of the layers [7]");
    assertThat(figures(everything(32, 8)).stream().map(Figure::name))
        .filteredOn(name -> name.startsWith("pairs-code"))
        .hasSize(8);
    Report searches =
        Report.builder("x").addEvolution(evolution(32, 32)).addEvolution(evolution(32, 4)).build();
    assertThat(figures(searches).stream().map(Figure::name))
        .filteredOn(name -> name.startsWith("w-em"))
        .hasSize(8 + 4)
        .contains("w-em-evolve-group-32", "w-em-evolve-group-4", "w-em-evolve-group-1-2");
    assertThat(section(searches, "matrices").what()).anyMatch(text -> text.contains("8 of 32"));
  }

  @Test
  void smallNumbersAreTellableApartWhereCellsAreTooManyToWriteThemIn() {
    double[][] values = new double[64][64];
    values[0][1] = 0.4;
    HeatMap map =
        new HeatMap(
            "small",
            "row",
            Text.numbers(64),
            "column",
            Text.numbers(64),
            values,
            0,
            0.4,
            false,
            true);
    BufferedImage image = read(new Figure("small", "small", map).png(Theme.LIGHT));
    int strongest = Theme.LIGHT.amounts()[1].getRGB();
    int[] pixels =
        image.getRGB(0, 0, image.getWidth(), image.getHeight(), null, 0, image.getWidth());
    assertThat(Arrays.stream(pixels).filter(pixel -> pixel == strongest).count())
        .as("pixels of the one cell")
        .isBetween(20L, 200L);
  }

  @ParameterizedTest
  @CsvSource({"4, 8", "8, 8", "48, 128", "128, 128", "61, 256", "4, 1000"})
  void labelsOfLargeMapsDoNotLieOnEachOther(int rows, int columns) {
    HeatMap map =
        new HeatMap(
            "large",
            "row",
            Text.numbers(rows),
            "column",
            Text.numbers(columns),
            new double[rows][columns],
            0,
            1,
            false,
            false);
    HeatMapChart chart = (HeatMapChart) map.draw(Theme.LIGHT);
    List<String> x = texts(chart.getHeatMapSeries().getXData());
    List<String> y = texts(chart.getHeatMapSeries().getYData());
    assertThat(x).hasSize(columns).contains("0");
    assertThat(y).hasSize(rows).last().isEqualTo("0");
    assertThat(written(x) * (7 * String.valueOf(columns - 1).length() + 4)).isLessThan(280);
    assertThat(written(y) * 14L).isLessThan(chart.getHeight() - 60);
    assertThat(written(y)).isGreaterThan(3);
  }

  private static List<String> texts(List<?> labels) {
    return labels.stream().map(Object::toString).toList();
  }

  private static long written(List<String> labels) {
    return labels.stream().filter(label -> !label.isBlank()).count();
  }

  @Test
  void aReportOfNothingIsRefused() {
    assertThatThrownBy(() -> Report.builder("Nothing").build())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("nothing to report");
  }

  @Test
  void pairsAreCountedOncePerTokenAndPaddingIsNot() {
    ExpertPairs pairs = new ExpertPairs("text");
    pairs.onRouting(
        new LayerStub(3, 4),
        new float[0],
        RoutingDecision.of(
            2, new int[] {1, 2, 2, 1, 0, -1, -1, -1}, new float[] {1, 1, 1, 1, 1, 0, 0, 0}));
    ExpertPairs.Layer layer = pairs.layers().get(3);
    assertThat(layer.share(1, 2)).isEqualTo(2.0 / 3);
    assertThat(layer.share(2, 1)).isEqualTo(2.0 / 3);
    assertThat(layer.share(0, 0)).isEqualTo(1.0 / 3);
    assertThat(layer.share(0, 1)).isZero();
    assertThat(layer.share(3, 3)).isZero();
  }

  @Test
  void lossesAreInPercentOfTheNormAndTheTablesSayThem() {
    Report report = everything(4, 8);
    assertThat(section(report, "loss").tables().get(0).rows().get(0))
        .containsExactly("0", "1.0 %", "4.0 %");
    assertThat(section(report, "subsets").tables().get(0).rows().get(0))
        .containsExactly("0", "code", "0, 1, 2, 3", "4.0", "5.0", "39.0", "73.0");
    assertThat(section(report, "kept").tables().get(0).rows().get(0))
        .containsExactly("0", "0, 1, 2, 3", "0, 1, 2, 3", "4 of 4: 0, 1, 2, 3");
    assertThat(section(report, "skipping").tables().get(0).rows())
        .contains(List.of("1", "0.5000", "41.0 %"), List.of("all", "", "41.5 %"));
    assertThat(section(report, "evolution").tables().get(0).rows())
        .containsExactly(List.of("evolve", "3", "-2.5000", "2", "-2.2500"));
    assertThat(section(report, "matrices").tables().get(0).rows())
        .contains(
            List.of("layer 0", "1", "2 (100.0 %)", "2 (100.0 %)"),
            List.of("layer 1", "2", "2 (100.0 %), 7 (-50.0 %)", "2 (100.0 %), 7 (-50.0 %)"));
  }

  private static Section section(Report report, String id) {
    return report.sections().stream().filter(one -> one.id().equals(id)).findFirst().orElseThrow();
  }

  @Test
  void anInterruptLeavesNothingBehind() {
    Path target = folder.resolve("report");
    Thread.currentThread().interrupt();
    assertThatThrownBy(() -> everything(4, 8).write(target))
        .isInstanceOf(CancellationException.class);
    assertThat(Thread.interrupted()).isTrue();
    assertThat(folder).isEmptyDirectory();
  }

  @Test
  void numbersOfAComparisonKeepFourDigits() throws Exception {
    Path file = folder.resolve("compare.json");
    Files.writeString(
        file,
        "{\"columns\": [\"retained\", \"perplexity\"], \"rows\": [{\"perplexity\": {\"code\":"
            + " 14.0731, \"prose\": 1e300}, \"retained\": 6, \"note\": null, \"bytes\": 7215432},"
            + " {\"retained\": 4, \"share\": 0.00002, \"big\": 1e999}]}");
    ComparisonResult comparison = ComparisonResult.read(file);
    assertThat(comparison.columns())
        .containsExactly(
            "retained", "perplexity code", "perplexity prose", "note", "bytes", "share", "big");
    assertThat(comparison.rows())
        .containsExactly(
            List.of("6", "14.07", "1.000e+300", "", "7215432", "", ""),
            List.of("4", "", "", "", "", "2.000e-05", "1e999"));
  }
}
