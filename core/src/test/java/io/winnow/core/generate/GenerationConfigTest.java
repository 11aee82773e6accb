package io.winnow.core.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;

class GenerationConfigTest {
  private static void assertRefused(GenerationConfig.Builder builder, String message) {
    assertThatThrownBy(builder::build)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
  }

  @Test
  void valuesOutOfTheirRangeAreRefusedByName() {
    assertRefused(GenerationConfig.builder(0), "must be at least 1, is 0");
    for (double temperature : new double[] {-0.1, Double.NaN, Double.POSITIVE_INFINITY}) {
      assertRefused(GenerationConfig.builder(1).optTemperature(temperature), "temperature must be");
    }
    assertRefused(GenerationConfig.builder(1).optTemperature(1).optTopK(-1), "Top-k");
    for (double value : new double[] {0, -1, 1.1, Double.NaN}) {
      assertRefused(GenerationConfig.builder(1).optTemperature(1).optTopP(value), "Top-p");
    }
    for (double value : new double[] {-0.1, 1.1, Double.NaN}) {
      assertRefused(GenerationConfig.builder(1).optTemperature(1).optMinP(value), "Min-p");
    }
    for (double value : new double[] {0, -1, Double.NaN, Double.POSITIVE_INFINITY}) {
      assertRefused(GenerationConfig.builder(1).optRepetitionPenalty(value), "repetition penalty");
    }
    assertRefused(GenerationConfig.builder(1).optStopStrings("a", ""), "stop string is empty");
  }

  @Test
  void rulesForDrawingAreRefusedWhereNothingIsDrawn() {
    assertRefused(GenerationConfig.builder(1).optTopK(5), "Top-k (5)");
    assertRefused(GenerationConfig.builder(1).optTopP(0.5), "top-p (0.5)");
    assertRefused(GenerationConfig.builder(1).optMinP(0.5), "min-p (0.5)");
  }

  @Test
  void isGreedyWithTheModelsEndTokensUnlessToldOtherwise() {
    GenerationConfig config = GenerationConfig.greedy(9);
    assertThat(config.maxTokens()).isEqualTo(9);
    assertThat(config.temperature()).isZero();
    assertThat(config.endTokens()).isEmpty();
  }

  @Test
  void keepsCopies() {
    Set<Long> ends = new HashSet<>(Set.of(1L));
    GenerationConfig config = GenerationConfig.builder(1).optEndTokens(ends).build();
    ends.add(2L);
    assertThat(config.endTokens()).isEqualTo(Optional.of(Set.of(1L)));
  }

  @Test
  void aBuilderGoesOnFromAConfiguration() {
    GenerationConfig config =
        GenerationConfig.builder(7)
            .optTemperature(0.5)
            .optTopK(4)
            .optTopP(0.9)
            .optMinP(0.1)
            .optRepetitionPenalty(1.5)
            .optSeed(3)
            .optEndTokens(Set.of(1L))
            .optStopStrings("a")
            .build();
    assertThat(config.toBuilder().build()).isEqualTo(config).hasSameHashCodeAs(config);
    GenerationConfig other = config.toBuilder().optSeed(4).build();
    assertThat(other).isNotEqualTo(config);
    assertThat(other.toString()).isEqualTo(config.toString().replace("seed=3", "seed=4"));
  }
}
