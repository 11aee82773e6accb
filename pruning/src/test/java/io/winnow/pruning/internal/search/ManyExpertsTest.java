package io.winnow.pruning.internal.search;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.FakeModel;
import io.winnow.pruning.LayerCalibration;
import io.winnow.pruning.PruningMethod;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.Subsets;
import io.winnow.pruning.Tables;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.LossEvaluator;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Layers of more experts than whose subsets could be looked at one by one. */
class ManyExpertsTest {
  private static InnerProductTable table(long seed, int experts, Routing routing, int candidates) {
    FakeModel model = FakeModel.random(seed, 1, experts, 12, routing);
    Calibration calibration = FakeModel.calibration(seed, 6, 40);
    return Tables.measure(model, calibration, routing, Integer.MAX_VALUE, candidates, false);
  }

  private static LayerCalibration layer(long seed, int experts, Routing routing, int candidates) {
    return Tables.view(table(seed, experts, routing, candidates));
  }

  @ParameterizedTest(name = "n = {0}, k = {1}, r = {2}, renormalised: {3}")
  @CsvSource({"64, 8, 32, true", "64, 8, 32, false", "128, 8, 64, true", "60, 4, 45, false"})
  void nothingElseFindsABetterSubset(int experts, int topK, int retained, boolean renormalized) {
    InnerProductTable table =
        table(experts, experts, SoftmaxRouting.of(topK, renormalized), experts);
    LayerCalibration layer = Tables.view(table);
    PruningMethod.Choice found = PruningMethod.reconstruction().choose(layer, retained, 0);
    double loss = layer.loss(found.retained());
    assertThat(found.exact()).isFalse();
    assertThat(found.retained()).hasSize(retained).isSorted().doesNotHaveDuplicates();
    assertThat(found.losses().get(0).loss()).isEqualTo(loss);
    assertThat(found.losses()).hasSize(2).isSorted();
    for (PruningMethod method : PruningMethod.all()) {
      assertThat(loss)
          .as(method.name())
          .isLessThanOrEqualTo(layer.loss(method.choose(layer, retained, 0).retained()));
    }
    SubsetDescent descent = new SubsetDescent(table, EqualGroups.of(layer.routing(), experts));
    assertThat(loss)
        .as("elimination alone")
        .isLessThanOrEqualTo(layer.loss(table.others(descent.eliminate(retained))));
    Random random = new Random(1);
    List<Integer> order = new ArrayList<>(IntStream.range(0, experts).boxed().toList());
    LossEvaluator evaluator = new LossEvaluator(table);
    for (int i = 0; i < 1000; i++) {
      Collections.shuffle(order, random);
      double other = evaluator.loss(table.retaining(order.subList(retained, experts)));
      assertThat(loss).isLessThan(other);
    }
    // No single exchange improves it.
    for (int restore : table.others(found.retained()).subList(0, 4)) {
      for (int drop : found.retained()) {
        List<Integer> exchanged = new ArrayList<>(found.retained());
        exchanged.set(exchanged.indexOf(drop), restore);
        Collections.sort(exchanged);
        assertThat(layer.loss(exchanged)).isGreaterThanOrEqualTo(loss);
      }
    }
  }

  @Test
  void theOptimumIsFoundWhereEnumerationKnowsIt() {
    List<String> missed = new ArrayList<>();
    for (long seed = 0; seed < 200; seed++) {
      int experts = 10 + (int) (seed % 7);
      int topK = 2 + (int) (seed / 7 % 3);
      int retained = Math.max(topK, experts / 2 - 1 + (int) (seed / 3 % 3));
      Routing routing = SoftmaxRouting.of(topK, seed % 4 != 0);
      FakeModel model = FakeModel.random(seed, 1, experts, 6, routing);
      LayerCalibration layer =
          Tables.view(
              Tables.measure(
                  model,
                  FakeModel.calibration(seed, 3, 16),
                  routing,
                  Integer.MAX_VALUE,
                  experts,
                  false));
      PruningMethod.Choice best = PruningMethod.reconstruction().choose(layer, retained, seed);
      PruningMethod.Choice found = PruningMethod.reconstruction(1).choose(layer, retained, seed);
      assertThat(best.exact()).isTrue();
      if (!found.retained().equals(best.retained())) {
        missed.add("seed " + seed + ": " + found.losses().get(0) + ", " + best.losses().get(0));
      }
    }
    assertThat(missed).hasSizeLessThanOrEqualTo(2);
  }

  @ParameterizedTest(name = "{0} subsets one by one")
  @CsvSource({"20000", "50"})
  void anyNumberOfThreadsGivesTheSame(long limit) {
    LayerCalibration layer = layer(5, 14, SoftmaxRouting.of(3, true), 14);
    PruningMethod method = PruningMethod.reconstruction(limit);
    PruningMethod.Choice alone = method.choose(layer, 7, 3);
    for (int threads : new int[] {1, 2, 5}) {
      ExecutorService executor = Executors.newFixedThreadPool(threads);
      try {
        assertThat(method.choose(layer, 7, 3, executor)).isEqualTo(alone);
      } finally {
        executor.shutdown();
      }
    }
  }

  @Test
  void theCallingThreadMayBeTheExecutorsOnlyOne() throws Exception {
    FakeModel model = FakeModel.random(5, 1, 14, 6, 3, true);
    Calibration calibration = FakeModel.calibration(5, 3, 16);
    ExecutorService executor = Executors.newSingleThreadExecutor();
    try {
      ExpertPruner pruner = ExpertPruner.builder().optExecutor(executor).build();
      assertThat(executor.submit(() -> pruner.search(model, calibration, 7)).get().layers().get(0))
          .extracting(PruningReport.Layer::losses)
          .isEqualTo(model.firstLayer(ExpertPruner.builder(), calibration, 7).losses());
    } finally {
      executor.shutdown();
    }
  }

  // Fewer candidates than experts

  @Test
  void candidatesOfTheDefaultFindWhatAllWouldFind() {
    Routing routing = SoftmaxRouting.of(4, true);
    LayerCalibration all = layer(7, 48, routing, 48);
    LayerCalibration some = layer(7, 48, routing, 26);
    List<Integer> expected = PruningMethod.reconstruction().choose(all, 24, 0).retained();
    assertThat(PruningMethod.reconstruction().choose(some, 24, 0).retained()).isEqualTo(expected);
    assertThat(some.truncatedTokens(expected)).isEqualTo(0);
  }

  @ParameterizedTest(name = "progressive: {0}, sequences a group: {1}")
  @CsvSource({"false, 0", "false, 2", "true, 0", "true, 2"})
  void theReportsLossIsTheTrueOneEvenWhereCandidatesDoNotSuffice(boolean progressive, int group) {
    FakeModel model = FakeModel.random(8, 2, 24, 8, 2, true);
    Calibration calibration = FakeModel.calibration(8, 5, 16);
    PruningReport report =
        ExpertPruner.builder()
            .optCandidates(3)
            .optProgressive(progressive)
            .optSequencesPerGroup(group)
            .build()
            .search(model, calibration, 6);
    Map<Integer, List<Integer>> before = Map.of();
    for (int place = 0; place < 2; place++) {
      PruningReport.Layer layer = report.layers().get(place);
      FakeModel.Layer fake = model.layers.get(place);
      List<Integer> all = IntStream.range(0, 24).boxed().toList();
      double[][] whole = model.output(fake, model.input(calibration, place, Map.of()), all);
      double[][] pruned =
          model.output(fake, model.input(calibration, place, before), layer.retained());
      double expected = FakeModel.loss(whole, pruned, group == 0 ? 80 : group * 16);
      assertThat(layer.truncatedTokens()).isPositive();
      assertThat(layer.exact()).isFalse();
      assertThat(layer.loss().orElseThrow()).isCloseTo(expected, within(1e-5 * expected));
      double norm = FakeModel.loss(whole, new double[80][8], group == 0 ? 80 : group * 16);
      assertThat(layer.relativeLoss().orElseThrow()).isCloseTo(expected / norm, within(1e-6));
      if (progressive) {
        before = Map.of(fake.index, layer.retained());
      }
    }
    assertThat(report.toJson()).contains("\"truncated_tokens\":");
  }

  @Test
  void lessMemoryLeavesFewerCandidatesAndTooLittleIsRefused() {
    FakeModel model = FakeModel.random(9, 2, 24, 8, 2, true);
    Calibration calibration = FakeModel.calibration(9, 4, 16);
    PruningReport.Layer all =
        model.firstLayer(ExpertPruner.builder().optCandidates(24), calibration, 6);
    PruningReport.Layer some =
        model.firstLayer(ExpertPruner.builder().optCalibrationMemory(2 * 64 * 300), calibration, 6);
    assertThat(all.truncatedTokens()).isEqualTo(0);
    assertThat(some.truncatedTokens()).isPositive();
    assertThat(some.loss().orElseThrow()).isGreaterThanOrEqualTo(all.loss().orElseThrow());
    assertThatThrownBy(
            () ->
                ExpertPruner.builder()
                    .optCalibrationMemory(1000)
                    .build()
                    .search(model, calibration, 6))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("2 layers on 64 tokens")
        .hasMessageContaining("fewer sequences or more memory");
    assertThatThrownBy(() -> ExpertPruner.builder().optCalibrationMemory(0))
        .isInstanceOf(InvalidInputException.class);
    assertThatThrownBy(() -> ExpertPruner.builder().optCandidates(0))
        .isInstanceOf(InvalidInputException.class);
  }

  // A host's own routing, of which nothing is known but what it selects

  @Test
  void aRoutingWithoutWeightingIsSearchedAlike() {
    for (long seed = 0; seed < 5; seed++) {
      SoftmaxRouting known = SoftmaxRouting.of(2, seed % 2 == 0);
      LayerCalibration fast = layer(seed, 12, known, 12);
      LayerCalibration slow = layer(seed, 12, new Opaque(known), 12);
      for (List<Integer> kept : Subsets.of(12, 6).subList(0, 50)) {
        double loss = fast.loss(kept);
        assertThat(slow.loss(kept)).isCloseTo(loss, within(1e-6 * loss));
      }
      PruningMethod.Choice best = PruningMethod.reconstruction().choose(fast, 6, 0);
      assertThat(PruningMethod.reconstruction().choose(slow, 6, 0).retained())
          .isEqualTo(best.retained());
      PruningMethod.Choice found = PruningMethod.reconstruction(1).choose(slow, 6, 0);
      assertThat(found.losses().get(0).loss())
          .isLessThanOrEqualTo(1.02 * best.losses().get(0).loss());
      for (PruningMethod method : List.of(PruningMethod.reap(), PruningMethod.leaveOneOut())) {
        assertThat(found.losses().get(0).loss())
            .as(method.name())
            .isLessThanOrEqualTo(slow.loss(method.choose(slow, 6, 0).retained()));
      }
    }
  }

  /** Hides what another routing is. */
  private record Opaque(SoftmaxRouting routing) implements Routing {
    @Override
    public int topK() {
      return routing.topK();
    }

    @Override
    public RoutingDecision route(float[] logits, int experts) {
      return routing.route(logits, experts);
    }

    @Override
    public float[] scores(float[] logits, int experts) {
      return routing.scores(logits, experts);
    }

    @Override
    public Routing retain(int... retained) {
      return new Opaque(routing);
    }

    @Override
    public boolean isRenormalized() {
      return routing.isRenormalized();
    }
  }
}
