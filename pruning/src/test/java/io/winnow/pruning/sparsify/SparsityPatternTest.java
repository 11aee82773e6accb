package io.winnow.pruning.sparsify;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Which weights of a row become zero. */
class SparsityPatternTest {
  private static List<Integer> selected(SparsityPattern pattern, double... scores) {
    boolean[] zero = new boolean[scores.length];
    pattern.select(scores, zero);
    return IntStream.range(0, zero.length).filter(i -> zero[i]).boxed().toList();
  }

  @Test
  void theLowestOfEachFourAreSelected() {
    assertThat(selected(SparsityPattern.TWO_OF_FOUR, 4, 3, 2, 1, 5, 9, 7, 8))
        .containsExactly(2, 3, 4, 6);
  }

  @Test
  void ofEqualScoresTheFirstAreSelected() {
    assertThat(selected(SparsityPattern.TWO_OF_FOUR, 1, 1, 1, 1, 2, 0, 2, 2))
        .containsExactly(0, 1, 4, 5);
    assertThat(selected(SparsityPattern.ofShare(0.5), 3, 3, 1, 3, 3, 3)).containsExactly(0, 1, 2);
  }

  @Test
  void aShareIsRoundedDownToWholeWeightsOfARow() {
    assertThat(selected(SparsityPattern.ofShare(0.5), 5, 4, 3, 2, 1)).containsExactly(3, 4);
    assertThat(selected(SparsityPattern.ofShare(0.1), 5, 4, 3, 2, 1)).isEmpty();
  }

  @ParameterizedTest
  @CsvSource({"2:4, 4, 2", "4:8, 8, 4", "1:4, 4, 1", "0.5, 24, 12", "0.3, 24, 7", "0.9, 24, 21"})
  void everyGroupEqualsItsStableSort(String text, int size, int count) {
    Random random = new Random(3);
    for (int run = 0; run < 50; run++) {
      // Few values, so that many are equal.
      double[] scores = random.ints(24, 0, 6).asDoubleStream().toArray();
      List<Integer> expected = new ArrayList<>();
      for (int from = 0; from < scores.length; from += size) {
        IntStream.range(from, from + size)
            .boxed()
            .sorted(Comparator.comparingDouble(i -> scores[i])) // A stable sort.
            .limit(count)
            .forEach(expected::add);
      }
      assertThat(selected(SparsityPattern.parse(text), scores))
          .as("run %d", run)
          .containsExactlyInAnyOrderElementsOf(expected);
    }
  }

  @Test
  void itsTextReadsAsTheSamePattern() {
    for (String text : List.of("2:4", "4:8", "0.5", "0.25")) {
      assertThat(SparsityPattern.parse(text)).hasToString(text);
      assertThat(SparsityPattern.parse(text))
          .isEqualTo(SparsityPattern.parse(text))
          .hasSameHashCodeAs(SparsityPattern.parse(text));
    }
    assertThat(SparsityPattern.parse("2:4")).isEqualTo(SparsityPattern.TWO_OF_FOUR);
    assertThat(SparsityPattern.parse("2:4")).isNotEqualTo(SparsityPattern.ofShare(0.5));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", "half", "4:4", "0:4", "5:4", "2:4:8", "-1:4", "0", "1", "-0.5", "NaN"})
  void otherTextsAreRefused(String text) {
    assertThatThrownBy(() -> SparsityPattern.parse(text))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("use");
  }

  @Test
  void rowsWithoutWholeGroupsAreRefused() {
    assertThatThrownBy(() -> selected(SparsityPattern.TWO_OF_FOUR, 1, 2, 3, 4, 5, 6))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Rows of 6 weights have no whole groups of 4")
        .hasMessageContaining("0.5");
  }
}
