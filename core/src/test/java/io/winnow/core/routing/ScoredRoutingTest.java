package io.winnow.core.routing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.routing.ScoredRouting.GroupScore;
import io.winnow.core.routing.ScoredRouting.Score;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

class ScoredRoutingTest {
  private static float[] logits(long seed, int count) {
    Random random = new Random(seed);
    float[] logits = new float[count];
    for (int i = 0; i < count; i++) {
      logits[i] = (float) (2 * random.nextGaussian());
    }
    return logits;
  }

  @Test
  void plainlyItIsTheSoftmaxRouting() {
    float[] logits = logits(1, 40 * 8);
    SoftmaxRouting softmax = SoftmaxRouting.of(3, false);
    ScoredRouting scored = ScoredRouting.builder(Score.SOFTMAX, 8, 3).build();
    assertThat(scored.route(logits, 8)).isEqualTo(softmax.route(logits, 8));
    assertThat(scored.scores(logits, 8)).isEqualTo(softmax.scores(logits, 8));
    RoutingDecision normalized =
        ScoredRouting.builder(Score.SOFTMAX, 8, 3).optNormalized(0, 1e-12).build().route(logits, 8);
    RoutingDecision expected = SoftmaxRouting.of(3, true).route(logits, 8);
    assertThat(normalized.experts()).isEqualTo(expected.experts());
    for (int i = 0; i < 40 * 3; i++) {
      assertThat(normalized.weights()[i]).isCloseTo(expected.weights()[i], within(1e-6f));
    }
  }

  @Test
  void aGroupIsJudgedByItsGreatestScoreOrByTheSumOfTwo() {
    // Group 0 has the greatest, group 1 the greatest pair.
    float[] logits = {3, -9, -9, 2.9f, 2.8f, -9};
    ScoredRouting greatest =
        ScoredRouting.builder(Score.SIGMOID, 6, 1).optGroups(2, 1, GroupScore.GREATEST).build();
    ScoredRouting pairs =
        ScoredRouting.builder(Score.SIGMOID, 6, 1).optGroups(2, 1, GroupScore.TWO_GREATEST).build();
    assertThat(greatest.route(logits, 6).experts()).containsExactly(0);
    assertThat(pairs.route(logits, 6).experts()).containsExactly(3);
  }

  @Test
  void aCorrectionChangesTheSelectionAndNoWeight() {
    float[] logits = {1, 0, -1, -2};
    ScoredRouting routing =
        ScoredRouting.builder(Score.SIGMOID, 4, 2)
            .optCorrection(0, 0, 0, 5)
            .optNormalized(1e-20, 0)
            .optFactor(2.5)
            .build();
    RoutingDecision decision = routing.route(logits, 4);
    assertThat(decision.experts()).containsExactly(3, 0);
    double last = 1 / (1 + Math.exp(2));
    double first = 1 / (1 + Math.exp(-1));
    assertThat(decision.weight(0, 0))
        .isCloseTo((float) (2.5 * last / (last + first)), within(1e-6f));
    assertThat(decision.weight(0, 1))
        .isCloseTo((float) (2.5 * first / (last + first)), within(1e-6f));
  }

  @Test
  void aSumBelowTheLeastIsNotWhatWeightsAreDividedBy() {
    float[] logits = {0, 0, 0, 0};
    ScoredRouting routing =
        ScoredRouting.builder(Score.SOFTMAX, 4, 1).optNormalized(0, 0.5).build();
    assertThat(routing.route(logits, 4).weight(0, 0)).isEqualTo(0.5f);
  }

  @Test
  void ofEqualScoresTheLowerIndexComesFirst() {
    float[] logits = new float[8];
    ScoredRouting routing =
        ScoredRouting.builder(Score.SIGMOID, 8, 3).optGroups(4, 2, GroupScore.TWO_GREATEST).build();
    assertThat(routing.route(logits, 8).experts()).containsExactly(0, 1, 2);
  }

  @Test
  void retainedExpertsAreRoutedAsWithoutTheOthersColumns() {
    float[] correction = logits(2, 8);
    ScoredRouting routing =
        ScoredRouting.builder(Score.SIGMOID, 8, 2)
            .optCorrection(correction)
            .optGroups(2, 1, GroupScore.GREATEST)
            .build();
    Routing retained = routing.retain(0, 2, 5, 7);
    ScoredRouting expected =
        ScoredRouting.builder(Score.SIGMOID, 4, 2)
            .optCorrection(correction[0], correction[2], correction[5], correction[7])
            .optGroups(2, 1, GroupScore.GREATEST)
            .build();
    float[] columns = logits(3, 20 * 4);
    assertThat(retained.route(columns, 4)).isEqualTo(expected.route(columns, 4));
    assertThat(retained.groups()).isEqualTo(2);
    assertThat(Arrays.stream(retained.route(columns, 4).experts()).max()).hasValue(3);
  }

  @Test
  void numbersThatDoNotFitAreRefused() {
    ScoredRouting routing =
        ScoredRouting.builder(Score.SIGMOID, 8, 2).optGroups(2, 1, GroupScore.TWO_GREATEST).build();
    assertThatThrownBy(() -> routing.retain(0, 1, 2, 4))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("2 groups of 4")
        .hasMessageContaining("[3, 1]");
    assertThatThrownBy(() -> routing.retain(0, 4))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("at least 2");
    assertThatThrownBy(() -> routing.retain(0, 1, 4, 8))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Expert 8");
    assertThatThrownBy(() -> ScoredRouting.builder(Score.SOFTMAX, 4, 5).build())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("5");
    assertThatThrownBy(
            () ->
                ScoredRouting.builder(Score.SOFTMAX, 7, 2)
                    .optGroups(2, 1, GroupScore.GREATEST)
                    .build())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("equally large");
    assertThatThrownBy(() -> ScoredRouting.builder(Score.SOFTMAX, 4, 2).optCorrection(1).build())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("1 elements");
    assertThatThrownBy(() -> routing.route(new float[] {0, 0, 0, Float.NaN, 0, 0, 0, 0}, 8))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("not finite");
  }

  @Test
  void theTwoWinnersOfASparseMixerHaveAScaleEach() {
    SparseMixerRouting routing = SparseMixerRouting.of(0.1);
    // 2.7 is close to 3 (a tenth of it away), 1 to nothing.
    RoutingDecision decision = routing.route(new float[] {1, 3, 2.7f, -1}, 4);
    assertThat(decision.experts()).containsExactly(1, 2);
    assertThat(decision.weight(0, 0)).isCloseTo((float) (1 / (1 + Math.exp(-0.3))), within(1e-6f));
    assertThat(decision.weight(0, 1)).isEqualTo(1);
    assertThat(routing.hasComparableWeights()).isFalse();
    assertThatThrownBy(() -> routing.retain(2)).isInstanceOf(InvalidInputException.class);
    assertThatThrownBy(() -> SparseMixerRouting.of(-1)).isInstanceOf(InvalidInputException.class);
    assertThatThrownBy(() -> routing.route(new float[] {1, Float.POSITIVE_INFINITY}, 2))
        .isInstanceOf(InvalidInputException.class);
  }

  @Test
  void whatScalesInputsHasWeightOne() {
    InputScalingRouting routing = InputScalingRouting.of(1);
    RoutingDecision decision = routing.route(new float[] {0, 2, 1}, 3);
    assertThat(decision.experts()).containsExactly(1);
    assertThat(decision.weights()).containsExactly(1);
    assertThat(routing.scores(new float[] {0, 2, 1}, 3)[1])
        .isCloseTo((float) (1 / (1 + Math.exp(-2))), within(1e-6f));
    assertThat(routing.scalesInputs()).isTrue();
    assertThatThrownBy(() -> routing.retain()).isInstanceOf(InvalidInputException.class);
  }

  @Test
  void amongSomeExpertsItIsTheRoutingThatRetainsThem() {
    float[] logits = logits(9, 50 * 12);
    float[] bias = logits(10, 12);
    int[] retained = {0, 2, 3, 4, 5, 6, 8, 9, 11};
    for (Score score : Score.values()) {
      ScoredRouting routing =
          ScoredRouting.builder(score, 12, 3)
              .optCorrection(bias)
              .optGroups(3, 2, GroupScore.TWO_GREATEST)
              .optNormalized(1e-3, 0.2)
              .build();
      RoutingDecision among = routing.routeAmong(logits, 12, retained);
      float[] columns = new float[50 * 9];
      for (int token = 0; token < 50; token++) {
        for (int i = 0; i < 9; i++) {
          columns[token * 9 + i] = logits[token * 12 + retained[i]];
        }
      }
      RoutingDecision expected = routing.retain(retained).route(columns, 9);
      assertThat(among.weights()).isEqualTo(expected.weights());
      assertThat(among.experts())
          .isEqualTo(Arrays.stream(expected.experts()).map(i -> retained[i]).toArray());
    }
  }

  @Test
  void amongUnequalGroupsATokenTakesWhatTheyHave() {
    // Groups {0, 1}, {2, 3}, {4, 5}; a token uses one, of which it selects two.
    ScoredRouting routing =
        ScoredRouting.builder(Score.SIGMOID, 6, 2).optGroups(3, 1, GroupScore.GREATEST).build();
    float[] logits = {5, 1, 3, 2, 0, -1};
    assertThat(routing.routeAmong(logits, 6, 0, 2, 3, 4, 5).experts())
        .containsExactly(0, RoutingDecision.NONE);
    assertThat(routing.routeAmong(logits, 6, 0, 2, 3, 4, 5).weight(0, 1)).isEqualTo(0);
    assertThat(routing.routeAmong(logits, 6, 1, 2, 3).experts()).containsExactly(2, 3);
    assertThatThrownBy(() -> routing.routeAmong(logits, 6, 1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("at least 2");
  }
}
