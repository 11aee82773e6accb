package io.winnow.pruning.internal.shrink;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.TokenSequences;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Which sequences are fitted on, which choose the damping, and which are compared on. */
class SequenceSplitTest {
  private static TokenSequences sequences(int count) {
    long[][] ids = new long[count][2];
    Arrays.setAll(ids, i -> new long[] {i + 1, 0});
    return TokenSequences.of(ids);
  }

  private static List<Long> order(SequenceSplit split) {
    return IntStream.range(0, split.sequences().count())
        .mapToObj(i -> split.sequences().sequence(i)[0])
        .toList();
  }

  @Test
  void everyEighthChoosesTheDamping() {
    SequenceSplit split = SequenceSplit.forFit(sequences(16));
    assertThat(split.fitted()).isEqualTo(14);
    assertThat(split.held()).isEqualTo(2);
    assertThat(split.compared()).isZero();
    assertThat(order(split)).endsWith(8L, 16L).startsWith(1L, 2L, 3L, 4L, 5L, 6L, 7L, 9L);
  }

  @Test
  void ofFewTheLastOneChoosesAndOneAloneIsFittedOn() {
    SequenceSplit few = SequenceSplit.forFit(sequences(3));
    assertThat(few.fitted()).isEqualTo(2);
    assertThat(few.held()).isEqualTo(1);
    SequenceSplit one = SequenceSplit.forFit(sequences(1));
    assertThat(one.fitted()).isEqualTo(1);
    assertThat(one.held()).isZero();
  }

  @Test
  void everyFourthIsLeftForComparing() {
    SequenceSplit split = SequenceSplit.forComparing(sequences(16));
    assertThat(split.compared()).isEqualTo(4);
    assertThat(order(split)).endsWith(4L, 8L, 12L, 16L);
    assertThat(split.fitted() + split.held()).isEqualTo(12);
    SequenceSplit two = SequenceSplit.forComparing(sequences(2));
    assertThat(two.fitted()).isEqualTo(1);
    assertThat(two.compared()).isEqualTo(1);
  }
}
