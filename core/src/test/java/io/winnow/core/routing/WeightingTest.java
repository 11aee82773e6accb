package io.winnow.core.routing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.routing.ScoredRouting.GroupScore;
import io.winnow.core.routing.ScoredRouting.Score;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a weighting says a removal does, against routing again. */
class WeightingTest {
  private static final int EXPERTS = 9;

  static List<Routing> routings() {
    float[] correction = {0.3f, 0, 0, -0.2f, 0, 0, 0.1f, 0, 0};
    return List.of(
        SoftmaxRouting.of(3, true),
        SoftmaxRouting.of(3, false),
        ScoredRouting.builder(Score.SIGMOID, EXPERTS, 3)
            .optCorrection(correction)
            .optNormalized(1e-3, 1.5)
            .optFactor(2.5)
            .build(),
        ScoredRouting.builder(Score.SIGMOID, EXPERTS, 2).optCorrection(correction).build(),
        ScoredRouting.builder(Score.SOFTMAX, EXPERTS, 3).optFactor(16).build(),
        ScoredRouting.builder(Score.SOFTMAX, EXPERTS, 3).optNormalized(0, 0).build(),
        InputScalingRouting.of(2));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("routings")
  void selectionAndWeightsOfTheRetainedFollowFromOrderAndMasses(Routing routing) {
    Random random = new Random(4);
    float[] logits = new float[60 * EXPERTS];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) (3 * random.nextGaussian());
    }
    Weighting weighting = routing.weighting().orElseThrow();
    double[] scores = routing.selectionScores(logits, EXPERTS);
    double[] masses = weighting.masses(logits, EXPERTS);
    for (int size = routing.topK(); size <= EXPERTS; size++) {
      List<Integer> order = new ArrayList<>(IntStream.range(0, EXPERTS).boxed().toList());
      Collections.shuffle(order, random);
      int[] retained = order.stream().limit(size).sorted().mapToInt(i -> i).toArray();
      RoutingDecision decision = routing.routeAmong(logits, EXPERTS, retained);
      for (int token = 0; token < 60; token++) {
        int row = token * EXPERTS;
        List<Integer> selected =
            IntStream.of(retained)
                .boxed()
                .sorted(Comparator.comparingDouble((Integer expert) -> -scores[row + expert]))
                .limit(routing.topK())
                .toList();
        double ofSelected = selected.stream().mapToDouble(expert -> masses[row + expert]).sum();
        double divisor =
            switch (weighting.divisor()) {
              case NONE -> 1;
              case RETAINED -> IntStream.of(retained).mapToDouble(e -> masses[row + e]).sum();
              case SELECTED -> Math.max(ofSelected + weighting.addend(), weighting.least());
            };
        for (int rank = 0; rank < routing.topK(); rank++) {
          int expert = selected.get(rank);
          assertThat(decision.expert(token, rank)).isEqualTo(expert);
          double weight = weighting.factor() * masses[row + expert] / divisor;
          assertThat((double) decision.weight(token, rank))
              .isCloseTo(weight, within(1e-6 * weight));
        }
      }
    }
  }

  @Test
  void whereARemovalChangesTheOrderOrTheWeightsOtherwiseThereIsNone() {
    ScoredRouting.Builder groups =
        ScoredRouting.builder(Score.SIGMOID, EXPERTS, 2).optGroups(3, 2, GroupScore.GREATEST);
    assertThat(groups.build().weighting()).isEmpty();
    assertThat(
            ScoredRouting.builder(Score.SOFTMAX, EXPERTS, 2)
                .optCorrection(new float[EXPERTS])
                .build()
                .weighting())
        .isEmpty();
    assertThat(
            ScoredRouting.builder(Score.SOFTMAX, EXPERTS, 2)
                .optNormalized(0, 1e-12)
                .build()
                .weighting())
        .isEmpty();
    assertThat(SparseMixerRouting.of(0.1).weighting()).isEmpty();
  }
}
