package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The search on inner products against running the layer once per subset. */
class ReconstructionSearchTest {
  private static final int WIDTH = 6;

  private static PruningReport.Layer search(
      FakeModel model, Calibration calibration, int retained) {
    return model.firstLayer(ExpertPruner.builder(), calibration, retained);
  }

  private static double bruteForce(
      FakeModel model, Calibration calibration, List<Integer> retained, int tokensPerGroup) {
    FakeModel.Layer layer = model.layers.get(0);
    double[][] x = model.input(calibration, 0, Map.of());
    List<Integer> all = IntStream.range(0, layer.numExperts()).boxed().toList();
    return FakeModel.loss(
        model.output(layer, x, all), model.output(layer, x, retained), tokensPerGroup);
  }

  @ParameterizedTest(name = "n = {0}, k = {1}, renormalised: {2}, sequences a group: {3}")
  @CsvSource({
    "4, 1, true, 0", "4, 1, false, 0", "4, 2, true, 0", "5, 2, false, 0", "6, 2, true, 2",
    "6, 3, false, 2", "7, 3, true, 3", "8, 2, true, 4", "8, 2, false, 3", "8, 3, true, 0"
  })
  void everyLossEqualsThatOfRunningTheLayerAgain(
      int experts, int topK, boolean renormalized, int group) {
    for (long seed = 0; seed < 3; seed++) {
      FakeModel model = FakeModel.random(seed, 1, experts, WIDTH, topK, renormalized);
      Calibration calibration = FakeModel.calibration(seed, 5, 9);
      int tokensPerGroup = group == 0 ? 45 : group * 9;
      for (int retained = topK; retained <= experts; retained++) {
        PruningReport.Layer layer =
            model.firstLayer(
                ExpertPruner.builder().optSequencesPerGroup(group), calibration, retained);
        String what = "seed " + seed + ", r = " + retained;
        List<List<Integer>> subsets = Subsets.of(experts, experts - retained);
        assertThat(layer.losses()).as(what).hasSize(subsets.size()).isSorted();
        assertThat(layer.losses().stream().map(SubsetLoss::dropped))
            .as(what)
            .containsExactlyInAnyOrderElementsOf(subsets);
        double least = Double.POSITIVE_INFINITY;
        for (SubsetLoss loss : layer.losses()) {
          List<Integer> kept = Subsets.others(experts, loss.dropped());
          double expected = bruteForce(model, calibration, kept, tokensPerGroup);
          assertThat(loss.loss())
              .as("%s, dropped %s", what, loss.dropped())
              .isCloseTo(expected, within(1e-5 * expected + 1e-12));
          least = Math.min(least, expected);
        }
        assertThat(layer.exact()).isTrue();
        assertThat(layer.loss().getAsDouble()).as(what).isEqualTo(layer.losses().get(0).loss());
        assertThat(layer.loss().getAsDouble()).as(what).isCloseTo(least, within(1e-5 * least));
        assertThat(layer.dropped()).as(what).isEqualTo(layer.losses().get(0).dropped());
        assertThat(layer.retained()).as(what).isEqualTo(Subsets.others(experts, layer.dropped()));
        double[][] nothing = new double[45][WIDTH];
        double norm =
            FakeModel.loss(
                model.output(
                    model.layers.get(0),
                    model.input(calibration, 0, Map.of()),
                    IntStream.range(0, experts).boxed().toList()),
                nothing,
                tokensPerGroup);
        assertThat(layer.relativeLoss().getAsDouble())
            .as(what)
            .isCloseTo(layer.loss().getAsDouble() / norm, within(1e-6));
      }
    }
  }

  @ParameterizedTest(name = "renormalised: {0}")
  @ValueSource(booleans = {true, false})
  void keepingAllExpertsCostsExactlyNothing(boolean renormalized) {
    FakeModel model = FakeModel.random(4, 2, 6, WIDTH, 2, renormalized);
    PruningReport report = ExpertPruner.prune(model, FakeModel.calibration(4, 4, 8), 6);
    for (PruningReport.Layer layer : report.layers()) {
      assertThat(layer.loss().getAsDouble()).isEqualTo(0);
      assertThat(layer.relativeLoss().getAsDouble()).isEqualTo(0);
      assertThat(layer.retained()).containsExactly(0, 1, 2, 3, 4, 5);
      assertThat(layer.dropped()).isEmpty();
      assertThat(layer.losses()).containsExactly(new SubsetLoss(List.of(), 0));
    }
  }

  @ParameterizedTest(name = "renormalised: {0}")
  @ValueSource(booleans = {true, false})
  void anotherOrderOfTheExpertsPermutesTheChoiceAndKeepsTheLosses(boolean renormalized) {
    for (long seed = 0; seed < 8; seed++) {
      FakeModel model = FakeModel.random(seed, 1, 7, WIDTH, 2, renormalized);
      Calibration calibration = FakeModel.calibration(seed, 4, 10);
      List<Integer> order = new ArrayList<>(IntStream.range(0, 7).boxed().toList());
      Collections.shuffle(order, new Random(seed + 5));
      FakeModel permuted = model.permuted(order.stream().mapToInt(i -> i).toArray());
      PruningReport.Layer expected = search(model, calibration, 4);
      PruningReport.Layer actual = search(permuted, calibration, 4);
      Map<List<Integer>, Double> losses = new HashMap<>();
      expected.losses().forEach(loss -> losses.put(loss.dropped(), loss.loss()));
      for (SubsetLoss loss : actual.losses()) {
        double wanted =
            losses.get(loss.dropped().stream().map(order::get).sorted().toList()).doubleValue();
        assertThat(loss.loss()).as("seed %s", seed).isCloseTo(wanted, within(1e-6 * wanted));
      }
      assertThat(actual.retained().stream().map(order::get).sorted())
          .as("seed %s, order %s", seed, order)
          .isEqualTo(expected.retained());
    }
  }

  @Test
  void ofEquallyGoodSubsetsTheLexicographicallyFirstIsDropped() {
    for (long seed = 0; seed < 20; seed++) {
      FakeModel model = FakeModel.random(seed, 1, 6, WIDTH, 2, seed % 2 == 0);
      FakeModel.Layer layer = model.layers.get(0);
      for (int twin : List.of(1, 3, 4)) {
        layer.experts.set(twin, layer.experts.get(0));
        layer.gate[twin] = layer.gate[0].clone();
      }
      PruningReport.Layer choice = search(model, FakeModel.calibration(seed, 4, 10), 3);
      // 0, 1, 3 and 4 are one expert four times: it only counts how many of them are dropped, and
      // whether 2 and 5 are.
      Map<List<Integer>, List<SubsetLoss>> alike =
          choice.losses().stream()
              .collect(
                  Collectors.groupingBy(
                      loss ->
                          loss.dropped().stream()
                              .map(i -> i == 2 || i == 5 ? i : 0)
                              .toList()
                              .stream()
                              .sorted()
                              .toList()));
      for (List<SubsetLoss> same : alike.values()) {
        assertThat(same.stream().map(SubsetLoss::loss).distinct())
            .as("seed %s, %s", seed, same)
            .hasSize(1);
        assertThat(same).as("seed %s", seed).isSorted();
      }
      List<SubsetLoss> best =
          choice.losses().stream()
              .filter(loss -> loss.loss() == choice.loss().getAsDouble())
              .toList();
      assertThat(best).as("seed %s", seed).hasSizeGreaterThan(1);
      List<List<Integer>> sets = best.stream().map(SubsetLoss::dropped).toList();
      assertThat(choice.dropped())
          .as("seed %s of %s", seed, best)
          .isEqualTo(Subsets.of(6, 3).stream().filter(sets::contains).findFirst().orElseThrow());
    }
  }

  @ParameterizedTest(name = "at most {0} subsets")
  @ValueSource(longs = {2, 20_000})
  void expertsThatNoTokenSelectsCostNothingAndTheFirstOfThemIsDropped(long limit) {
    FakeModel model = FakeModel.random(3, 1, 6, WIDTH, 2, true);
    for (float[] row : model.embedding) {
      row[0] = 1;
    }
    for (int unused : List.of(1, 3, 4)) {
      model.layers.get(0).gate[unused][0] = -100;
    }
    PruningReport.Layer choice =
        search(PruningMethod.reconstruction(limit), model, FakeModel.calibration(3, 4, 10), 5, 0);
    assertThat(choice.dropped()).containsExactly(1);
    assertThat(choice.loss().getAsDouble()).isEqualTo(0);
    assertThat(choice.losses().get(1)).isEqualTo(new SubsetLoss(List.of(3), 0));
  }

  @ParameterizedTest(name = "{0} tokens a batch")
  @ValueSource(ints = {1, 7, 20, 2048, 4096})
  void theSizeOfBatchesDoesNotMatter(int batchTokens) {
    FakeModel model = FakeModel.random(11, 2, 6, WIDTH, 2, true);
    Calibration calibration = FakeModel.calibration(11, 11, 7);
    PruningReport expected =
        ExpertPruner.builder().optSequencesPerGroup(4).build().search(model, calibration, 4);
    PruningReport actual =
        ExpertPruner.builder()
            .optSequencesPerGroup(4)
            .optBatchTokens(batchTokens)
            .build()
            .search(model, calibration, 4);
    for (int i = 0; i < 2; i++) {
      PruningReport.Layer wanted = expected.layers().get(i);
      PruningReport.Layer layer = actual.layers().get(i);
      assertThat(layer.retained()).isEqualTo(wanted.retained());
      for (int j = 0; j < wanted.losses().size(); j++) {
        SubsetLoss loss = wanted.losses().get(j);
        assertThat(layer.losses().get(j).dropped()).isEqualTo(loss.dropped());
        assertThat(layer.losses().get(j).loss()).isCloseTo(loss.loss(), within(1e-6 * loss.loss()));
      }
    }
  }

  @Test
  void aLastGroupThatIsNotFullCounts() {
    FakeModel model = FakeModel.random(12, 1, 5, WIDTH, 2, true);
    Calibration all = FakeModel.calibration(12, 7, 8);
    PruningReport.Layer layer =
        model.firstLayer(ExpertPruner.builder().optSequencesPerGroup(3), all, 3);
    double sum = 0;
    for (int[] group : new int[][] {{0, 3}, {3, 6}, {6, 7}}) {
      long[][] ids = new long[group[1] - group[0]][];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = all.sequences().sequence(group[0] + i);
      }
      sum += bruteForce(model, Calibration.ofTokens(ids), layer.retained(), Integer.MAX_VALUE);
    }
    assertThat(layer.loss().getAsDouble()).isCloseTo(sum, within(1e-5 * sum));
  }

  @Test
  void moreSequencesAGroupThanThereAreMakeOneGroup() {
    FakeModel model = FakeModel.random(13, 1, 5, WIDTH, 2, true);
    Calibration calibration = FakeModel.calibration(13, 3, 8);
    assertThat(
            model
                .firstLayer(
                    ExpertPruner.builder().optSequencesPerGroup(Integer.MAX_VALUE), calibration, 3)
                .losses())
        .isEqualTo(search(model, calibration, 3).losses());
  }

  // Above the limit of enumeration

  private static PruningReport.Layer search(
      PruningMethod method, FakeModel model, Calibration calibration, int retained, long seed) {
    return model.firstLayer(
        ExpertPruner.builder().optMethod(method).optSeed(seed), calibration, retained);
  }

  @Test
  void aboveTheLimitTheSearchIsNeverWorseThanScoresAndNearlyAlwaysFindsTheOptimum() {
    int optimal = 0;
    int proved = 0;
    List<String> missed = new ArrayList<>();
    for (long seed = 0; seed < 40; seed++) {
      int experts = 10 + (int) (seed % 3);
      int retained = 4 + (int) (seed % 4);
      FakeModel model = FakeModel.random(seed, 1, experts, WIDTH, 2, seed % 2 == 0);
      Calibration calibration = FakeModel.calibration(seed, 4, 12);
      PruningReport.Layer found =
          search(PruningMethod.reconstruction(50), model, calibration, retained, seed);
      String what = "seed " + seed + ", r = " + retained + " of " + experts;
      assertThat(found.losses()).as(what).hasSize(2).isSorted();
      assertThat(found.retained()).as(what).hasSize(retained);
      assertThat(found.loss().getAsDouble())
          .as(what)
          .isCloseTo(
              bruteForce(model, calibration, found.retained(), Integer.MAX_VALUE), within(1e-4));
      for (PruningMethod method :
          List.of(
              PruningMethod.frequency(), PruningMethod.random(), PruningMethod.softActivation())) {
        assertThat(found.loss().getAsDouble())
            .as("%s against %s", what, method.name())
            .isLessThanOrEqualTo(
                search(method, model, calibration, retained, seed).loss().getAsDouble());
      }
      PruningReport.Layer best =
          search(PruningMethod.reconstruction(), model, calibration, retained, seed);
      assertThat(best.exact()).isTrue();
      if (found.exact()) {
        proved++;
        assertThat(found.retained()).as(what).isEqualTo(best.retained());
      }
      assertThat(found.loss().getAsDouble())
          .as(what)
          .isGreaterThanOrEqualTo(best.loss().getAsDouble());
      if (found.retained().equals(best.retained())) {
        optimal++;
      } else {
        missed.add(what);
      }
      assertThat(
              search(PruningMethod.reconstruction(50), model, calibration, retained, seed).losses())
          .as("%s, once more", what)
          .isEqualTo(found.losses());
    }
    assertThat(proved).as("proved within 50 branches").isLessThan(20);
    assertThat(optimal).as("optima found of 40; missed: %s", missed).isGreaterThanOrEqualTo(39);
  }

  @ParameterizedTest(name = "at most {0} subsets")
  @ValueSource(longs = {1, 20_000})
  void allExpertsAndOnlyAsManyAsATokenSelectsMayStay(long limit) {
    FakeModel model = FakeModel.random(21, 1, 9, WIDTH, 2, true);
    Calibration calibration = FakeModel.calibration(21, 3, 8);
    PruningMethod method = PruningMethod.reconstruction(limit);
    PruningReport.Layer all = search(method, model, calibration, 9, 0);
    assertThat(all.dropped()).isEmpty();
    assertThat(all.loss().getAsDouble()).isEqualTo(0);
    assertThat(all.exact()).isTrue();
    PruningReport.Layer fewest = search(method, model, calibration, 2, 0);
    assertThat(fewest.retained()).hasSize(2);
    assertThat(fewest.exact()).isEqualTo(limit > 1);
    double expected = bruteForce(model, calibration, fewest.retained(), Integer.MAX_VALUE);
    assertThat(fewest.loss().getAsDouble()).isCloseTo(expected, within(1e-5 * expected));
  }

  @Test
  void twoExpertsOfWhichOneStaysWorkAboveTheLimit() {
    FakeModel model = FakeModel.random(22, 1, 2, WIDTH, 1, true);
    Calibration calibration = FakeModel.calibration(22, 3, 8);
    PruningReport.Layer found = search(PruningMethod.reconstruction(1), model, calibration, 1, 0);
    assertThat(found.exact()).isFalse();
    assertThat(found.losses())
        .isEqualTo(search(PruningMethod.reconstruction(), model, calibration, 1, 0).losses());
  }

  @Test
  void aLimitBelowOneIsRefused() {
    assertThatThrownBy(() -> PruningMethod.reconstruction(0))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("limit of subsets");
  }
}
