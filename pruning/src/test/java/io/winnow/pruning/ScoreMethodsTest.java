package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.calibration.Calibration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Frequency, soft activation and random against plain loops over the tokens. */
class ScoreMethodsTest {
  private static PruningReport search(
      PruningMethod method, FakeModel model, Calibration calibration, int retained, long seed) {
    return ExpertPruner.builder()
        .optMethod(method)
        .optSeed(seed)
        .optMeasureLoss(false)
        .build()
        .search(model, calibration, retained);
  }

  /** The places of the highest scores; of equal scores the lower index. */
  private static List<Integer> highest(double[] scores, int count) {
    return IntStream.range(0, scores.length)
        .boxed()
        .sorted(
            Comparator.comparingDouble((Integer i) -> scores[i])
                .reversed()
                .thenComparing(Comparator.naturalOrder()))
        .limit(count)
        .sorted()
        .toList();
  }

  /** Computes by the book what each expert of a layer gains from one token. */
  @FunctionalInterface
  private interface Gain {
    double[] of(FakeModel model, FakeModel.Layer layer, double[] input, List<Integer> all);
  }

  /** Returns the layers that a method pruned, after a look at whether their scores were highest. */
  private static List<PruningReport.Layer> assertHighest(
      PruningMethod method, int experts, int topK, boolean renormalized, Gain gain) {
    List<PruningReport.Layer> pruned = new ArrayList<>();
    for (long seed = 0; seed < 5; seed++) {
      FakeModel model = FakeModel.random(seed, 2, experts, 6, topK, renormalized);
      Calibration calibration = FakeModel.calibration(seed, 5, 9);
      List<Integer> all = IntStream.range(0, experts).boxed().toList();
      for (int place = 0; place < 2; place++) {
        double[] sums = new double[experts];
        for (double[] x : model.input(calibration, place, Map.of())) {
          double[] gains = gain.of(model, model.layers.get(place), x, all);
          for (int expert = 0; expert < experts; expert++) {
            sums[expert] += gains[expert];
          }
        }
        for (int retained = topK; retained <= experts; retained++) {
          PruningReport.Layer layer =
              search(method, model, calibration, retained, 0).layers().get(place);
          assertThat(layer.retained())
              .as("seed %s, layer %s, sums %s", seed, place, Arrays.toString(sums))
              .isEqualTo(highest(sums, retained));
          pruned.add(layer);
        }
      }
    }
    return pruned;
  }

  @ParameterizedTest(name = "n = {0}, k = {1}, renormalised: {2}")
  @CsvSource({"4, 1, true", "5, 2, false", "8, 2, true", "8, 3, false"})
  void frequencyKeepsTheExpertsThatTheMostTokensSelect(
      int experts, int topK, boolean renormalized) {
    List<PruningReport.Layer> pruned =
        assertHighest(
            PruningMethod.frequency(),
            experts,
            topK,
            renormalized,
            (model, layer, x, all) ->
                Arrays.stream(model.weights(layer, x, all)).map(w -> w > 0 ? 1 : 0).toArray());
    assertThat(pruned)
        .isNotEmpty()
        .allSatisfy(
            layer -> {
              assertThat(layer.loss()).isEmpty();
              assertThat(layer.relativeLoss()).isEmpty();
              assertThat(layer.losses()).isEmpty();
            });
  }

  @ParameterizedTest(name = "n = {0}, k = {1}, renormalised: {2}")
  @CsvSource({"4, 1, true", "5, 2, false", "8, 2, true", "8, 3, false"})
  void softActivationKeepsTheExpertsWithTheGreatestSumOfScores(
      int experts, int topK, boolean renormalized) {
    assertHighest(PruningMethod.softActivation(), experts, topK, renormalized, FakeModel::scores);
  }

  @Test
  void ofEquallyFrequentExpertsTheLowerIndexStays() {
    FakeModel model = FakeModel.selectingTwoAndFour();
    Calibration calibration = FakeModel.calibration(1, 3, 5);
    for (PruningMethod method : List.of(PruningMethod.frequency())) {
      assertThat(search(method, model, calibration, 4, 0).layers().get(0).retained())
          .containsExactly(0, 1, 2, 4);
      assertThat(search(method, model, calibration, 2, 0).layers().get(0).retained())
          .containsExactly(2, 4);
    }
  }

  @Test
  void theLossOfAScoreMethodIsThatOfTheSameSubsetInTheSearch() {
    FakeModel model = FakeModel.random(2, 1, 6, 6, 2, true);
    Calibration calibration = FakeModel.calibration(2, 4, 8);
    List<SubsetLoss> losses = model.firstLayer(ExpertPruner.builder(), calibration, 3).losses();
    for (PruningMethod method : PruningMethod.all()) {
      PruningReport.Layer layer =
          model.firstLayer(ExpertPruner.builder().optMethod(method), calibration, 3);
      double expected =
          losses.stream()
              .filter(loss -> loss.dropped().equals(layer.dropped()))
              .findFirst()
              .orElseThrow()
              .loss();
      assertThat(layer.loss().getAsDouble())
          .as(method.name())
          .isCloseTo(expected, within(1e-12 * expected));
    }
  }

  @ParameterizedTest(name = "progressive: {0}")
  @ValueSource(booleans = {false, true})
  void randomDoesNotRunTheModelWhereNoLossIsWanted(boolean progressive) {
    FakeModel model = FakeModel.random(3, 3, 6, 6, 2, true);
    PruningReport report =
        ExpertPruner.builder()
            .optMethod(PruningMethod.random())
            .optProgressive(progressive)
            .optMeasureLoss(false)
            .build()
            .search(model, FakeModel.calibration(3, 4, 8), 4);
    assertThat(model.forwards).isEqualTo(0);
    assertThat(report.layers()).hasSize(3).allSatisfy(l -> assertThat(l.loss()).isEmpty());
    assertThat(report.provenance().calibration()).isNull();
  }

  @Test
  void onePassOverTheCalibrationServesAllLayers() {
    FakeModel model = FakeModel.random(3, 3, 6, 6, 2, true);
    ExpertPruner.builder()
        .optBatchTokens(16)
        .build()
        .search(model, FakeModel.calibration(3, 4, 8), 4);
    assertThat(model.forwards).isEqualTo(2);
  }

  @Test
  void randomIsSeededAndDiffersFromLayerToLayerAndFromSeedToSeed() {
    FakeModel model = FakeModel.random(4, 4, 8, 4, 2, true);
    Calibration calibration = FakeModel.calibration(4, 1, 4);
    int[][] droppedByLayer = new int[4][8];
    Set<List<List<Integer>>> choices = new HashSet<>();
    int layersAlike = 0;
    int seeds = 200;
    for (long seed = 0; seed < seeds; seed++) {
      List<PruningReport.Layer> layers =
          search(PruningMethod.random(), model, calibration, 7, seed).layers();
      List<List<Integer>> dropped = layers.stream().map(PruningReport.Layer::dropped).toList();
      for (int layer = 0; layer < 4; layer++) {
        assertThat(layers.get(layer).retained()).hasSize(7).isSorted().doesNotHaveDuplicates();
        droppedByLayer[layer][dropped.get(layer).get(0)]++;
      }
      layersAlike += new HashSet<>(dropped).size() == 1 ? 1 : 0;
      choices.add(dropped);
      assertThat(search(PruningMethod.random(), model, calibration, 7, seed).layers())
          .as("seed %s, once more", seed)
          .extracting(PruningReport.Layer::dropped)
          .isEqualTo(dropped);
    }
    // By chance 1 in 512 has the same expert in all layers, and 195 of 4096 are distinct.
    assertThat(layersAlike).as("seeds that drop the same everywhere").isLessThan(4);
    assertThat(choices).as("choices of %s seeds", seeds).hasSizeGreaterThan(180);
    for (int[] counts : droppedByLayer) {
      for (int count : counts) {
        assertThat(count).as(Arrays.deepToString(droppedByLayer)).isBetween(8, 50);
      }
    }
  }
}
