package io.winnow.core.evaluate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.InvalidInputException;
import io.winnow.core.evaluate.AnswerMatcher.Normalization;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AnswerMatcherTest {
  private final AnswerMatcher squad = AnswerMatcher.squad();

  /** The expected values are those of SQuAD's script, run in Python. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "The Eiffel Tower!        | eiffel tower     | eiffel tower             | 1",
        "in an old\u00a0house, the one | Old house   | in old house one         | 0.6666666666666666",
        "a the an                 | The              | ''                       | 1",
        "a                        | cat              | ''                       | 0",
        "New York New York        | new york         | new york new york        | 0.6666666666666666",
        "It's 3.5%                | its 35           | its 35                   | 1",
        "theatre band an\u00e9mone | theatre the band | theatre band an\u00e9mone | 0.8",
        "\u00c0 la carte          | \u00e0 la        | \u00e0 la carte          | 0.8",
        "under_score              | underscore       | underscore               | 1",
        "x the2 y                 | x the2 y         | x the2 y                 | 1",
        "cat                      | dog              | cat                      | 0",
      })
  void normalisesAndComparesWordsAsSquad(
      String text, String reference, String normalized, double f1) {
    assertThat(squad.normalize(text)).isEqualTo(normalized);
    assertThat(squad.f1(text, reference)).isCloseTo(f1, within(1e-12));
  }

  @Test
  void theBestAcceptedAnswerCounts() {
    OpenQuestion question = new OpenQuestion("?", List.of("red house", "the cat", "blue"));
    OpenResult.Answer answer = squad.judge(question, " Cat.");
    assertThat(answer.exact()).isTrue();
    assertThat(answer.f1()).isEqualTo(1);
    assertThat(squad.judge(question, "a house").exact()).isFalse();
    assertThat(squad.judge(question, "a house").f1()).isCloseTo(2.0 / 3, within(1e-12));
  }

  @Test
  void anExpressionExtractsFromTheTextAndTheReference() {
    AnswerMatcher matcher =
        squad
            .withExtraction("#### (-?[0-9.,]+)|answer is (-?[0-9]+)")
            .withNormalization(Normalization.NONE);
    OpenQuestion question = new OpenQuestion("?", List.of("5 + 7 = 12\n#### -12"));
    assertThat(matcher.judge(question, "it is\n#### -12\n#### 13").exact()).isTrue();
    assertThat(matcher.judge(question, "the answer is -12").exact()).isTrue();
    assertThat(matcher.judge(question, "#### 12").exact()).isFalse();
    OpenResult.Answer none = matcher.judge(question, "-12");
    assertThat(none.extracted()).isEmpty();
    assertThat(none.exact()).isFalse();
    assertThat(none.f1()).isZero();
    assertThat(matcher.judge(new OpenQuestion("?", List.of("7")), "#### 7").exact()).isTrue();
  }

  @Test
  void theLastMatchCanCountInstead() {
    assertThat(squad.withLastExtraction("\\d+").extract("1, 2 and 3")).contains("3");
    assertThat(squad.withExtraction("\\d+").extract("1, 2 and 3")).contains("1");
  }

  @Test
  void aWrongOrHostileExpressionIsRefused() {
    assertThatThrownBy(() -> squad.withExtraction("(a"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'(a' is no regular expression");
    assertThatThrownBy(() -> squad.withExtraction("(a+)+\\1b").extract("a".repeat(60) + "c"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("text of 61 characters more than");
    assertThatThrownBy(() -> squad.withExtraction("(a|b)*c").extract("ab".repeat(100_000)))
        .isInstanceOf(InvalidInputException.class);
  }
}
