package io.winnow.core;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

/** The experts of three tokens, of which the second has one left and the third none. */
class RoutingDecisionTest {
  private static final int NONE = RoutingDecision.NONE;
  private static final RoutingDecision DECISION =
      RoutingDecision.of(
          2, new int[] {3, 0, NONE, 3, NONE, NONE}, new float[] {0.7f, 0.3f, 0, 0.4f, 0, 0});

  @Test
  void tokensAreGroupedByTheExpertsThatTheyTake() {
    assertThat(DECISION.tokensByExpert(4)).isDeepEqualTo(new long[][] {{0}, {}, {}, {0, 1}});
    assertThat(DECISION.counts(4)).containsExactly(1, 0, 0, 2);
  }

  @Test
  void theWeightOfAnExpertThatATokenDoesNotTakeIsZero() {
    assertThat(DECISION.weightOf(0, 3)).isEqualTo(0.7f);
    assertThat(DECISION.weightOf(0, 0)).isEqualTo(0.3f);
    assertThat(DECISION.weightOf(1, 3)).isEqualTo(0.4f);
    assertThat(DECISION.weightOf(1, 0)).isZero();
    assertThat(DECISION.weightOf(2, 3)).isZero();
  }

  @Test
  void idleTokensTakeNoExpert() {
    RoutingDecision without = DECISION.without(new boolean[] {true, false, false});
    assertThat(without.tokensByExpert(4)).isDeepEqualTo(new long[][] {{}, {}, {}, {1}});
    assertThat(without.weights()).containsExactly(0, 0, 0, 0.4f, 0, 0);
    assertThat(DECISION.counts(4)).as("the original").containsExactly(1, 0, 0, 2);
  }

  @Test
  void arraysThatMakeNoRowsAreRefused() {
    assertThatThrownBy(() -> RoutingDecision.of(2, new int[3], new float[3]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("3 experts and 3 weights do not make rows of 2");
  }
}
