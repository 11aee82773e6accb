package io.winnow.core.routing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.RoutingDecision;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** W_RM is applied after the softmax and before the top-k, which is then renormalised. */
class MappedRoutingTest {
  private static final int EXPERTS = 8;
  private static final int TOKENS = 40;

  private static float[] logits(long seed) {
    Random random = new Random(seed);
    float[] logits = new float[TOKENS * EXPERTS];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) (2 * random.nextGaussian());
    }
    return logits;
  }

  private static double[][] mapping(int rows, long seed) {
    Random random = new Random(seed);
    double[][] mapping = new double[rows][EXPERTS];
    for (double[] row : mapping) {
      for (int i = 0; i < EXPERTS; i++) {
        row[i] = (float) random.nextGaussian();
      }
    }
    return mapping;
  }

  /** W_RM softmax(l) of one token, by the book. */
  private static double[] scores(double[][] mapping, float[] logits, int token) {
    double sum = 0;
    for (int i = 0; i < EXPERTS; i++) {
      sum += Math.exp(logits[token * EXPERTS + i]);
    }
    double[] scores = new double[mapping.length];
    for (int row = 0; row < scores.length; row++) {
      for (int i = 0; i < EXPERTS; i++) {
        scores[row] += mapping[row][i] * Math.exp(logits[token * EXPERTS + i]) / sum;
      }
    }
    return scores;
  }

  @ParameterizedTest(name = "r = {0}, top-{1}, renormalised {2}")
  @CsvSource({"4,2,true", "4,1,true", "4,2,false", "3,3,false", "8,3,true", "1,1,false"})
  void scoresAreMappedAfterTheSoftmaxAndBeforeTheTopK(int rows, int topK, boolean renormalized) {
    float[] logits = logits(5);
    double[][] mapping = mapping(rows, 6);
    MappedRouting routing = MappedRouting.of(SoftmaxRouting.of(2, renormalized), mapping, topK);
    RoutingDecision decision = routing.route(logits, EXPERTS);
    float[] all = routing.scores(logits, EXPERTS);
    int negative = 0;
    for (int token = 0; token < TOKENS; token++) {
      double[] wanted = scores(mapping, logits, token);
      Integer[] order = IntStream.range(0, rows).boxed().toArray(Integer[]::new);
      for (int row = 0; row < rows; row++) {
        wanted[row] = Math.max(wanted[row], MappedRouting.LEAST_SCORE);
        assertThat((double) all[token * rows + row]).isCloseTo(wanted[row], within(1e-6));
      }
      // The sort is stable: the lower of two equal ones stays first.
      Arrays.sort(order, (a, b) -> Double.compare(wanted[b], wanted[a]));
      double sum = 0;
      for (int rank = 0; rank < topK; rank++) {
        sum += wanted[order[rank]];
      }
      for (int rank = 0; rank < topK; rank++) {
        double weight = wanted[order[rank]] / (renormalized ? sum : 1);
        negative += wanted[order[rank]] == MappedRouting.LEAST_SCORE ? 1 : 0;
        assertThat(decision.expert(token, rank)).isEqualTo(order[rank]);
        assertThat((double) decision.weight(token, rank)).isCloseTo(weight, within(1e-5));
      }
    }
    if (topK == rows) {
      assertThat(negative).as("negative scores are among them").isPositive();
    }
  }

  @Test
  void rowsThatSelectOneExpertEachArePlainPruning() {
    float[] logits = logits(7);
    int[] kept = {1, 4, 6, 7};
    ExpertMerge merge = ExpertMerge.ofRetained(EXPERTS, kept);
    SoftmaxRouting base = SoftmaxRouting.of(2, true);
    float[] columns = new float[TOKENS * kept.length];
    for (int i = 0; i < columns.length; i++) {
      columns[i] = logits[i / kept.length * EXPERTS + kept[i % kept.length]];
    }
    assertThat(MappedRouting.of(base, merge.routerMapping(), 2).route(logits, EXPERTS))
        .isEqualTo(base.route(columns, kept.length));
  }

  @Test
  void withoutRenormalisationTheyForgetTheOthersAfterScoring() {
    float[] logits = logits(8);
    double[][] mapping = ExpertMerge.ofRetained(EXPERTS, 0, 3).routerMapping();
    SoftmaxRouting base = SoftmaxRouting.of(2, false);
    RoutingDecision decision = MappedRouting.of(base, mapping, 2).route(logits, EXPERTS);
    float[] scores = base.scores(logits, EXPERTS);
    for (int token = 0; token < TOKENS; token++) {
      for (int rank = 0; rank < 2; rank++) {
        int original = decision.expert(token, rank) == 0 ? 0 : 3;
        assertThat(decision.weight(token, rank))
            .isCloseTo(scores[token * EXPERTS + original], within(1e-6f));
      }
    }
  }

  @Test
  void theIdentityIsTheRoutingItself() {
    float[] logits = logits(9);
    double[][] identity = ExpertMerge.ofRetained(3, 0, 1, 2).routerMapping();
    float[] some = Arrays.copyOf(logits, 30);
    for (boolean renormalized : new boolean[] {true, false}) {
      SoftmaxRouting base = SoftmaxRouting.of(2, renormalized);
      RoutingDecision mapped = MappedRouting.of(base, identity, 2).route(some, 3);
      RoutingDecision plain = base.route(some, 3);
      assertThat(mapped.experts()).isEqualTo(plain.experts());
      assertThat(mapped.weights()).containsExactly(plain.weights(), within(1e-6f));
    }
  }

  @Test
  void aTokenWithoutAPositiveScoreSharesItsWeightAmongTheFirstExperts() {
    double[][] mapping = {{-1, -1}, {-2, -3}, {-0.5, -0.5}};
    MappedRouting routing = MappedRouting.of(SoftmaxRouting.of(2, true), mapping, 2);
    RoutingDecision decision = routing.route(new float[] {1, 2}, 2);
    assertThat(decision.experts()).containsExactly(0, 1);
    assertThat(decision.weights()).containsExactly(0.5f, 0.5f);
  }

  @Test
  void retainingRowsRemovesMergedExperts() {
    float[] logits = logits(10);
    double[][] mapping = mapping(4, 11);
    SoftmaxRouting base = SoftmaxRouting.of(2, true);
    MappedRouting some = MappedRouting.of(base, mapping, 2).retain(1, 2, 3);
    assertThat(some.retained()).isEqualTo(3);
    assertThat(some.route(logits, EXPERTS))
        .isEqualTo(
            MappedRouting.of(base, Arrays.copyOfRange(mapping, 1, 4), 2).route(logits, EXPERTS));
    assertThatThrownBy(() -> some.retain(1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("retain at least 2");
  }

  @Test
  void whatCannotBeRoutedIsRefused() {
    SoftmaxRouting base = SoftmaxRouting.of(2, true);
    double[][] mapping = mapping(2, 12);
    assertThatThrownBy(() -> MappedRouting.of(base, mapping, 3))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("cannot select 3 of 2");
    assertThatThrownBy(() -> MappedRouting.of(base, mapping, 0))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("cannot select 0 of 2");
    assertThatThrownBy(() -> MappedRouting.of(base, new double[][] {{1, 0}, {1}}, 1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Row 1 of the router mapping has 1 elements");
    assertThatThrownBy(() -> MappedRouting.of(base, new double[][] {{1, 1e300}}, 1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("[0, 1]")
        .hasMessageContaining("1.0E300");
    MappedRouting routing = MappedRouting.of(base, mapping, 2);
    assertThatThrownBy(() -> routing.route(new float[8], 4))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("[2, 8] does not fit the logits of 4 experts");
    float[] logits = logits(13);
    logits[11] = Float.NaN;
    assertThatThrownBy(() -> routing.route(logits, EXPERTS))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("logit of expert 3 is NaN");
  }
}
