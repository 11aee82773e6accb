package io.winnow.core;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;

class TokenSequencesTest {
  private static final long[][] IDS = {{1, 2, 3}, {4, 5, 6}, {7, 1L << 40, 9}, {0, 0, 0}};

  @Test
  void holdsTheIdsItWasGiven() {
    TokenSequences sequences = TokenSequences.of(IDS);

    assertThat(sequences.count()).isEqualTo(4);
    assertThat(sequences.length()).isEqualTo(3);
    assertThat(sequences.tokens()).isEqualTo(12);
    assertThat(sequences.maxId()).isEqualTo(1L << 40);
    assertThat(sequences.sequence(2)).containsExactly(7, 1L << 40, 9);
    assertThat(sequences.flatten(0, 2)).containsExactly(1, 2, 3, 4, 5, 6);
    assertThat(sequences.slice(1, 3)).isEqualTo(TokenSequences.of(new long[][] {IDS[1], IDS[2]}));
    assertThat(sequences).hasToString("TokenSequences[4, 3]");
  }

  @Test
  void isNotChangedThroughArraysThatWentInOrCameOut() {
    long[][] ids = {{1, 2}, {3, 4}};
    TokenSequences sequences = TokenSequences.of(ids);

    ids[0][0] = 9;
    sequences.sequence(0)[1] = 9;
    sequences.flatten(0, 2)[2] = 9;

    assertThat(sequences).isEqualTo(TokenSequences.of(new long[][] {{1, 2}, {3, 4}}));
  }

  @Test
  void isEqualByContentAndArrangement() {
    TokenSequences sequences = TokenSequences.of(IDS);

    assertThat(TokenSequences.of(IDS)).isEqualTo(sequences).hasSameHashCodeAs(sequences);
    assertThat(TokenSequences.of(new long[][] {{1, 2}, {3, 4}}))
        .isNotEqualTo(TokenSequences.of(new long[][] {{1, 2, 3, 4}}))
        .isNotEqualTo(TokenSequences.of(new long[][] {{1, 2}, {3, 5}}))
        .isNotEqualTo("ids");
  }

  @Test
  void digestIsSha256OverCountLengthAndIdsAsLittleEndianInt64() throws Exception {
    ByteBuffer bytes = ByteBuffer.allocate(14 * 8).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(4).putLong(3);
    for (long[] row : IDS) {
      for (long id : row) {
        bytes.putLong(id);
      }
    }
    String expected =
        HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes.array()));

    assertThat(TokenSequences.of(IDS).digest()).isEqualTo("sha256:" + expected);
  }

  @Test
  void digestDependsOnTheArrangement() {
    assertThat(TokenSequences.of(new long[][] {{1, 2}, {3, 4}}).digest())
        .isNotEqualTo(TokenSequences.of(new long[][] {{1, 2, 3, 4}}).digest());
  }

  @Test
  void rejectsNoSequences() {
    assertThatThrownBy(() -> TokenSequences.of(new long[0][]))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("no sequences");
  }

  @Test
  void rejectsEmptySequences() {
    assertThatThrownBy(() -> TokenSequences.of(new long[][] {{}, {}}))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("length 0");
  }

  @Test
  void rejectsSequencesOfDifferentLengths() {
    assertThatThrownBy(() -> TokenSequences.of(new long[][] {{1, 2}, {1, 2}, {1}}))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("sequence 0 has 2 tokens, sequence 2 has 1");
  }

  @Test
  void rejectsNegativeIds() {
    assertThatThrownBy(() -> TokenSequences.of(new long[][] {{1, 2}, {1, -100}}))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Token id -100 in sequence 1 at position 1");
  }

  @Test
  void rejectsMoreIdsThanAnArrayHolds() {
    long[] row = new long[1 << 16];
    long[][] rows = new long[1 << 15][];
    Arrays.fill(rows, row);

    assertThatThrownBy(() -> TokenSequences.of(rows))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("32768 sequences of 65536 tokens");
  }

  @Test
  void rejectsRangesThatAreNotThere() {
    TokenSequences sequences = TokenSequences.of(IDS);

    assertThatThrownBy(() -> sequences.sequence(4)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> sequences.slice(0, 5)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> sequences.slice(2, 2)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> sequences.flatten(-1, 1))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }
}
