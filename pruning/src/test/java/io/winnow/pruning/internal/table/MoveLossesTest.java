package io.winnow.pruning.internal.table;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.Routing;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.routing.InputScalingRouting;
import io.winnow.core.routing.ScoredRouting;
import io.winnow.core.routing.ScoredRouting.Score;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.pruning.FakeModel;
import io.winnow.pruning.Tables;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** One look at the tokens against the loss of every single move. */
class MoveLossesTest {
  private static final int EXPERTS = 11;

  static List<Routing> routings() {
    return List.of(
        SoftmaxRouting.of(1, true),
        SoftmaxRouting.of(3, true),
        SoftmaxRouting.of(1, false),
        SoftmaxRouting.of(3, false),
        ScoredRouting.builder(Score.SIGMOID, EXPERTS, 3)
            .optCorrection(0.3f, 0, 0, -0.2f, 0, 0, 0.1f, 0, 0, 0, 0.2f)
            .optNormalized(1e-3, 1.2)
            .optFactor(2.5)
            .build(),
        ScoredRouting.builder(Score.SIGMOID, EXPERTS, 2).build(),
        ScoredRouting.builder(Score.SOFTMAX, EXPERTS, 3).optFactor(16).build(),
        ScoredRouting.builder(Score.SOFTMAX, EXPERTS, 3).optNormalized(0, 0).build(),
        InputScalingRouting.of(2));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("routings")
  void everyDropAndEveryExchangeHasItsLoss(Routing routing) {
    for (long seed = 0; seed < 3; seed++) {
      for (boolean progressive : new boolean[] {false, true}) {
        for (int candidates : new int[] {EXPERTS, 6}) {
          InnerProductTable layer = layer(seed, routing, candidates, progressive);
          Random random = new Random(seed);
          for (int size = routing.topK(); size <= EXPERTS; size++) {
            List<Integer> order = new ArrayList<>(IntStream.range(0, EXPERTS).boxed().toList());
            Collections.shuffle(order, random);
            check(layer, order.subList(0, size).stream().sorted().toList());
          }
        }
      }
    }
  }

  private static void check(InnerProductTable layer, List<Integer> kept) {
    List<Integer> dropped = layer.others(kept);
    int[] keptArray = kept.stream().mapToInt(i -> i).toArray();
    int[] droppedArray = dropped.stream().mapToInt(i -> i).toArray();
    MoveLosses moves = new MoveLosses(layer);
    double[] drops = moves.ofDrops(keptArray);
    double[] exchanges = moves.ofExchanges(keptArray, droppedArray);
    double norm = layer.targetNorm();
    for (int i = 0; i < kept.size(); i++) {
      List<Integer> without = new ArrayList<>(kept);
      without.remove(i);
      if (without.size() >= layer.routing().topK()) {
        assertThat(drops[i])
            .as("%s of %s, drop %s of %s", layer.routing(), layer.candidates(), i, kept)
            .isCloseTo(layer.loss(without), within(1e-7 * norm));
      }
      for (int j = 0; j < dropped.size(); j++) {
        List<Integer> exchanged = new ArrayList<>(without);
        exchanged.add(dropped.get(j));
        Collections.sort(exchanged);
        assertThat(exchanges[i * dropped.size() + j])
            .as(
                "%s of %s, drop %s of %s, restore %s",
                layer.routing(), layer.candidates(), i, kept, dropped.get(j))
            .isCloseTo(layer.loss(exchanged), within(1e-7 * norm));
      }
    }
  }

  /**
   * What the pruner sees of the second of two layers, whose target is the first's if progressive.
   */
  private static InnerProductTable layer(
      long seed, Routing routing, int candidates, boolean progressive) {
    FakeModel model = FakeModel.random(seed, 1, EXPERTS, 6, routing);
    Calibration calibration = FakeModel.calibration(seed, 4, 9);
    return Tables.measure(
        model, calibration, routing, 18, Math.max(candidates, routing.topK()), progressive);
  }
}
