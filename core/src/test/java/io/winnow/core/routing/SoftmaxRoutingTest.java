package io.winnow.core.routing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.environment.Telemetry;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SoftmaxRoutingTest {
  private static float[] logits(int tokens, int experts, long seed) {
    Random random = new Random(seed);
    float[] logits = new float[tokens * experts];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) (4 * random.nextGaussian());
    }
    return logits;
  }

  private static double probability(float[] logits, int row, int experts, int expert) {
    double sum = 0;
    for (int i = 0; i < experts; i++) {
      sum += Math.exp(logits[row * experts + i]);
    }
    return Math.exp(logits[row * experts + expert]) / sum;
  }

  @ParameterizedTest(name = "top-{0} of {1}, renormalised {2}")
  @CsvSource({"1,4,true", "2,8,true", "2,8,false", "8,64,true", "8,64,false", "3,3,false"})
  void selectsTheHighestProbabilitiesAndWeighsThem(int topK, int experts, boolean renormalized) {
    float[] logits = logits(50, experts, 3);
    RoutingDecision decision = SoftmaxRouting.of(topK, renormalized).route(logits, experts);
    assertThat(decision.tokens()).isEqualTo(50);
    for (int token = 0; token < 50; token++) {
      double selected = 0;
      for (int rank = 0; rank < topK; rank++) {
        selected += probability(logits, token, experts, decision.expert(token, rank));
      }
      for (int rank = 0; rank < topK; rank++) {
        int expert = decision.expert(token, rank);
        double wanted = probability(logits, token, experts, expert) / (renormalized ? selected : 1);
        assertThat((double) decision.weight(token, rank)).isCloseTo(wanted, within(1e-6));
        if (rank > 0) {
          assertThat(decision.weight(token, rank))
              .isLessThanOrEqualTo(decision.weight(token, rank - 1));
        }
        int better = 0;
        for (int other = 0; other < experts; other++) {
          if (logits[token * experts + other] > logits[token * experts + expert]) {
            better++;
          }
        }
        assertThat(better).isEqualTo(rank);
      }
    }
  }

  @Test
  void theLowerIndexComesFirstAmongEqualLogits() {
    float[] logits = {1, 2, 2, 0, 2, /* next token */ 0, 0, 0, 0, 0};
    RoutingDecision decision = SoftmaxRouting.of(2, true).route(logits, 5);
    assertThat(decision.experts()).containsExactly(1, 2, 0, 1);
    assertThat(decision.weights()).containsExactly(0.5f, 0.5f, 0.5f, 0.5f);
  }

  @Test
  void renormalisedWeightsDoNotChangeByABitWhenUnselectedExpertsAreRemoved() {
    float[] logits = logits(200, 8, 5);
    Routing routing = SoftmaxRouting.of(2, true);
    RoutingDecision full = routing.route(logits, 8);
    for (int token = 0; token < 200; token++) {
      int first = full.expert(token, 0);
      int second = full.expert(token, 1);
      float[] two = {logits[token * 8 + first], logits[token * 8 + second]};
      RoutingDecision alone = routing.retain(first, second).route(two, 2);
      assertThat(alone.weights()).containsExactly(full.weight(token, 0), full.weight(token, 1));
    }
  }

  @Test
  void scoresAreTheSoftmaxOverAllExperts() {
    float[] logits = logits(20, 6, 9);
    float[] scores = SoftmaxRouting.of(2, true).scores(logits, 6);
    for (int i = 0; i < scores.length; i++) {
      assertThat((double) scores[i]).isCloseTo(probability(logits, i / 6, 6, i % 6), within(1e-6));
    }
  }

  @ParameterizedTest
  @CsvSource({"true", "false"})
  void differentiableWeightsEqualThoseOfTheDecision(boolean renormalized) {
    float[] logits = logits(30, 6, 11);
    SoftmaxRouting routing = SoftmaxRouting.of(3, renormalized);
    RoutingDecision decision = routing.route(logits, 6);
    long[] selected = new long[90];
    for (int i = 0; i < selected.length; i++) {
      selected[i] = decision.expert(i / 3, i % 3);
    }
    Telemetry.off();
    try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
      NDArray weights =
          routing.weights(
              manager.create(logits, new Shape(30, 6)), manager.create(selected, new Shape(30, 3)));
      assertThat(weights.toFloatArray()).containsExactly(decision.weights(), within(1e-6f));
    }
  }

  @Test
  void logitsThatAreNotFiniteAreAnError() {
    for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
      assertThatThrownBy(() -> SoftmaxRouting.of(1, true).route(new float[] {0, bad}, 2))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("expert 1")
          .hasMessageContaining(String.valueOf(bad));
    }
  }

  @Test
  void fewerExpertsThanTopKAreAnError() {
    assertThatThrownBy(() -> SoftmaxRouting.of(0, true)).hasMessageContaining("0");
    assertThatThrownBy(() -> SoftmaxRouting.of(2, true).retain(3))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("1 experts")
        .hasMessageContaining("at least 2");
    assertThatThrownBy(() -> SoftmaxRouting.of(2, true).route(new float[] {1}, 1))
        .isInstanceOf(InvalidInputException.class);
    assertThatThrownBy(() -> SoftmaxRouting.of(2, true).route(new float[5], 3))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void idleTokensLoseAllTheirExperts() {
    RoutingDecision decision =
        RoutingDecision.of(2, new int[] {3, 1, 0, 2}, new float[] {0.6f, 0.4f, 0.7f, 0.3f});
    RoutingDecision rest = decision.without(new boolean[] {true, false});
    assertThat(rest.experts()).containsExactly(RoutingDecision.NONE, RoutingDecision.NONE, 0, 2);
    assertThat(rest.weights()).containsExactly(0, 0, 0.7f, 0.3f);
    assertThat(decision.expert(0, 0)).isEqualTo(3);
    assertThatThrownBy(() -> decision.without(new boolean[1]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("1 flags for 2 tokens");
  }

  @Test
  void aDecisionKeepsItsOwnArrays() {
    int[] experts = {1, RoutingDecision.NONE};
    float[] weights = {1, 0};
    RoutingDecision decision = RoutingDecision.of(2, experts, weights);
    experts[0] = 5;
    decision.experts()[0] = 7;
    assertThat(decision.expert(0, 0)).isEqualTo(1);
    assertThat(decision.counts(3)).containsExactly(0, 1, 0);
    assertThat(decision).isEqualTo(RoutingDecision.of(2, decision.experts(), decision.weights()));
    assertThat(decision).hasToString("RoutingDecision[tokens=1, topK=2]");
    assertThatThrownBy(() -> decision.expert(0, 2)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> RoutingDecision.of(2, new int[3], new float[3]))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
