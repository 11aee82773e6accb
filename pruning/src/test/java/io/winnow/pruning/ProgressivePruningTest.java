package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.calibration.Calibration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Progressive pruning (NAEE, table 6) against running the models as they are defined. */
class ProgressivePruningTest {
  @ParameterizedTest(name = "k = {0}, renormalised: {1}, sequences a group: {2}")
  @CsvSource({"1, true, 0", "2, true, 0", "2, true, 2", "2, false, 0", "3, false, 3"})
  void inputsComeFromThePrunedLayersAndTargetsFromTheOriginalModel(
      int topK, boolean renormalized, int group) {
    for (long seed = 0; seed < 4; seed++) {
      FakeModel model = FakeModel.random(seed, 3, 6, 6, topK, renormalized);
      Calibration calibration = FakeModel.calibration(seed, 5, 7);
      String before = model.state();
      PruningReport report =
          ExpertPruner.builder()
              .optProgressive(true)
              .optSequencesPerGroup(group)
              .optBatchTokens(14)
              .build()
              .search(model, calibration, 4);
      assertThat(model.state()).isEqualTo(before);
      int tokensPerGroup = group == 0 ? 35 : 7 * group;
      List<Integer> all = IntStream.range(0, 6).boxed().toList();
      Map<Integer, List<Integer>> pruned = new TreeMap<>();
      for (int place = 0; place < 3; place++) {
        FakeModel.Layer layer = model.layers.get(place);
        PruningReport.Layer found = report.layers().get(place);
        double[][] target = model.output(layer, model.input(calibration, place, Map.of()), all);
        double[][] x = model.input(calibration, place, pruned);
        double least = Double.POSITIVE_INFINITY;
        for (SubsetLoss loss : found.losses()) {
          double[][] actual = model.output(layer, x, Subsets.others(6, loss.dropped()));
          double expected = FakeModel.loss(target, actual, tokensPerGroup);
          assertThat(loss.loss())
              .as("seed %s, layer %s, dropped %s", seed, place, loss.dropped())
              .isCloseTo(expected, within(2e-5 * expected));
          least = Math.min(least, expected);
        }
        assertThat(found.losses()).hasSize(15).isSorted();
        assertThat(found.loss().getAsDouble())
            .as("seed %s, layer %s", seed, place)
            .isCloseTo(least, within(2e-5 * least));
        double norm = FakeModel.loss(target, new double[35][6], tokensPerGroup);
        assertThat(found.relativeLoss().getAsDouble())
            .as("seed %s, layer %s", seed, place)
            .isCloseTo(least / norm, within(2e-5));
        pruned.put(layer.index, found.retained());
      }
      assertThat(report.progressive()).isTrue();
      assertThat(report.provenance().method()).isEqualTo("reconstruction-progressive");
    }
  }

  @Test
  void theFirstLayerIsJudgedAsWithoutIt() {
    FakeModel model = FakeModel.random(9, 2, 6, 6, 2, true);
    Calibration calibration = FakeModel.calibration(9, 5, 7);
    PruningReport.Layer wanted = model.firstLayer(ExpertPruner.builder(), calibration, 4);
    PruningReport.Layer layer =
        model.firstLayer(ExpertPruner.builder().optProgressive(true), calibration, 4);
    assertThat(layer.dropped()).isEqualTo(wanted.dropped());
    assertThat(layer.loss().getAsDouble())
        .isCloseTo(wanted.loss().getAsDouble(), within(1e-5 * wanted.loss().getAsDouble()));
  }

  @Test
  void scoresAreCountedBehindThePrunedLayers() {
    FakeModel model = FakeModel.random(10, 2, 6, 6, 2, true);
    Calibration calibration = FakeModel.calibration(10, 5, 7);
    ExpertPruner.Builder progressive =
        ExpertPruner.builder().optProgressive(true).optMeasureLoss(false);
    PruningReport report =
        progressive.optMethod(PruningMethod.softActivation()).build().search(model, calibration, 3);
    Map<Integer, List<Integer>> first =
        Map.of(model.layers.get(0).index, report.layers().get(0).retained());
    double[] sums = new double[6];
    List<Integer> all = IntStream.range(0, 6).boxed().toList();
    for (double[] x : model.input(calibration, 1, first)) {
      double[] scores = model.scores(model.layers.get(1), x, all);
      for (int expert = 0; expert < 6; expert++) {
        sums[expert] += scores[expert];
      }
    }
    List<Integer> kept = report.layers().get(1).retained();
    for (int dropped : report.layers().get(1).dropped()) {
      assertThat(kept).allSatisfy(expert -> assertThat(sums[expert]).isGreaterThan(sums[dropped]));
    }
    // One pass a layer is enough without a target.
    model.forwards = 0;
    progressive.optMethod(PruningMethod.frequency()).build().search(model, calibration, 3);
    assertThat(model.forwards).isEqualTo(2);
  }
}
