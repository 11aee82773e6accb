package io.winnow.core.internal.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.Segment.BufferSegment;
import io.winnow.core.internal.safetensors.Segment.FileSegment;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

class OutputTensorTest {
  private static final Path FILE = Path.of("x.safetensors");
  private static final TensorInfo MATRIX =
      new TensorInfo("m", TensorType.BF16, List.of(8L, 3L), FILE, 100, 48);

  @Test
  void copiesATensorAsOneSegment() {
    OutputTensor copy = OutputTensor.copyOf(MATRIX, "n");

    assertThat(copy)
        .isEqualTo(
            new OutputTensor(
                "n", TensorType.BF16, List.of(8L, 3L), List.of(new FileSegment(FILE, 100, 48))));
    assertThat(OutputTensor.copyOf(MATRIX).name()).isEqualTo("m");
  }

  @Test
  void mergesRowsThatFollowEachOther() {
    OutputTensor rows = OutputTensor.rows(MATRIX, "n", 7, 0, 1, 2, 2, 5);

    assertThat(rows.shape()).containsExactly(6L, 3L);
    assertThat(rows.segments())
        .containsExactly(
            new FileSegment(FILE, 142, 6),
            new FileSegment(FILE, 100, 18),
            new FileSegment(FILE, 112, 6),
            new FileSegment(FILE, 130, 6));
  }

  @Test
  void takesRowsBeyondTwoGigabytes() {
    TensorInfo large =
        new TensorInfo("m", TensorType.F32, List.of(10L, 1L << 30), FILE, 8, 10L << 32);

    assertThat(OutputTensor.rows(large, "n", 8, 9).segments())
        .containsExactly(new FileSegment(FILE, 8 + (8L << 32), 2L << 32));
  }

  @Test
  void rejectsRowsThatAreNotThere() {
    assertThatThrownBy(() -> OutputTensor.rows(MATRIX, "n", 0, 8))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'m'", "x.safetensors", "0 to 7", "8 was asked for");
    assertThatThrownBy(() -> OutputTensor.rows(MATRIX, "n", -1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("-1 was asked for");
    assertThatThrownBy(() -> OutputTensor.rows(MATRIX, "n"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("No row", "'m'");
  }

  @Test
  void rejectsRowsOfWhatHasNone() {
    TensorInfo single = new TensorInfo("s", TensorType.F32, List.of(), FILE, 8, 4);
    TensorInfo nibbles = new TensorInfo("n", TensorType.F4, List.of(2L, 3L), FILE, 8, 3);

    assertThatThrownBy(() -> OutputTensor.rows(single, "n", 0))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'s'", "single value");
    assertThatThrownBy(() -> OutputTensor.rows(nibbles, "n", 0))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'n'", "12 bits");
  }

  @Test
  void rejectsBytesThatDoNotFitTheShape() {
    assertThatThrownBy(() -> OutputTensor.ofFloats("x", List.of(2L, 2L), new float[3]))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'x'", "F32", "[2, 2]", "16 bytes", "12");
    assertThatThrownBy(() -> OutputTensor.ofLongs("x", List.of(-1L), new long[0]))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("[-1]", "negative");
    assertThatThrownBy(() -> OutputTensor.ofLongs("x", List.of(Long.MAX_VALUE, 2L), new long[0]))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("overflow");
  }

  @Test
  void rejectsNamesThatTheFormatReserves() {
    for (String name : List.of("", "__metadata__")) {
      assertThatThrownBy(() -> OutputTensor.ofLongs(name, List.of(), new long[1]))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContainingAll("'" + name + "'", "choose another");
    }
  }

  @Test
  void rejectsNegativeSegments() {
    assertThatThrownBy(() -> new FileSegment(FILE, -1, 4))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("x.safetensors", "-1");
  }

  @Test
  void doesNotFollowLaterChangesOfABuffersPosition() {
    ByteBuffer buffer = ByteBuffer.allocate(10).position(2);
    BufferSegment segment = new BufferSegment(buffer);

    buffer.position(5);
    segment.data().get();

    assertThat(segment.length()).isEqualTo(8);
    assertThat(segment.data().remaining()).isEqualTo(8);
  }
}
