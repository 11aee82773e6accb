package io.winnow.core.calibration;

import static io.winnow.core.Refusal.assertInvalid;
import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.TokenSequences;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Token ids that a calibration is read from. */
class CalibrationTokenIdsTest {
  private static final long[][] ROWS = {
    {10, 11, 12}, {20, 21, 22}, {30, 31, 32}, {40, 41, 42}, {50, 51, 52}
  };

  @TempDir Path folder;

  @Test
  void rowsOfTokenIdsAreUsedInFileOrderWhereAllAreWanted() throws IOException {
    Calibration calibration = ofRows(ROWS, ofTokenIds().optSequences(5));

    assertThat(calibration.sequences()).isEqualTo(TokenSequences.of(ROWS));
    assertThat(calibration.description()).isEqualTo("5 sequences of 3 tokens: all there are");
  }

  @Test
  void rowsOfTokenIdsAreAllUsedWhereMoreAreWanted() throws IOException {
    Calibration calibration = ofRows(ROWS, ofTokenIds());

    assertThat(calibration.sequences()).isEqualTo(TokenSequences.of(ROWS));
    assertThat(calibration.description())
        .isEqualTo("5 sequences of 3 tokens: all there are, 128 were wanted");
  }

  @Test
  void rowsOfTokenIdsAreSampledWhereFewerAreWanted() throws IOException {
    List<Integer> numbers = new ArrayList<>(List.of(0, 1, 2, 3, 4));
    Collections.shuffle(numbers, new Random(3));
    long[][] chosen = numbers.stream().limit(2).sorted().map(i -> ROWS[i]).toArray(long[][]::new);

    Calibration calibration = ofRows(ROWS, ofTokenIds().optSequences(2).optSeed(3));

    assertThat(calibration.sequences()).isEqualTo(TokenSequences.of(chosen));
    assertThat(calibration.description())
        .isEqualTo("2 of 5 sequences of 3 tokens, sampled with seed 3");
  }

  @Test
  void rowsOfTokenIdsAreCutToAShorterLength() throws IOException {
    Calibration calibration = ofRows(ROWS, ofTokenIds().optSequences(5).optLength(2));

    assertThat(calibration.sequences().flatten(0, 2)).containsExactly(10, 11, 20, 21);
    assertThat(calibration.description())
        .isEqualTo("5 sequences of 2 tokens, the first of 3 in each: all there are");
  }

  @Test
  void rowsOfTokenIdsShorterThanTheLengthAreRejected() {
    assertInvalid(() -> ofRows(ROWS, ofTokenIds().optLength(4)))
        .hasMessageContaining("ids.safetensors")
        .hasMessageContaining("sequences of 3 tokens")
        .hasMessageContaining("length of 4")
        .hasMessageContaining("at most 3");
  }

  @Test
  void rowsOfTokenIdsLongerThanThePositionsAreRejectedUnlessCut() throws IOException {
    assertInvalid(() -> ofRows(ROWS, ofTokenIds().optMaxPositions(2)))
        .hasMessageContaining("3 tokens are longer than the model's 2 positions");
    assertThat(ofRows(ROWS, ofTokenIds().optMaxPositions(2).optLength(2)).sequences().length())
        .isEqualTo(2);
  }

  @Test
  void negativeRowsOfTokenIdsAreRejected() {
    assertInvalid(() -> ofRows(new long[][] {{1, -1}}, ofTokenIds()))
        .hasMessageContaining("Token id -1");
  }

  @Test
  void tokenIdsMayBeInAnotherTensor() throws IOException {
    writeTokenIds("calib", ROWS, 5, 3);

    assertThat(ofTokenIds().optTensor("calib").build().sequences())
        .isEqualTo(TokenSequences.of(ROWS));
    assertInvalid(() -> ofTokenIds().build())
        .hasMessageContaining("ids.safetensors has no tensor \"input_ids\"")
        .hasMessageContaining("[calib]")
        .hasMessageContaining("optTensor");
  }

  @Test
  void aTensorThatIsNotSequencesIsRejectedWithItsShape() throws IOException {
    writeTokenIds("input_ids", ROWS, 15);
    assertInvalid(() -> ofTokenIds().build())
        .hasMessageContaining("shape [15]")
        .hasMessageContaining("[sequences, length]");

    writeTokenIds("input_ids", new long[0][], 0, 3);
    assertInvalid(() -> ofTokenIds().build()).hasMessageContaining("shape [0, 3]");
  }

  private Calibration.Builder ofTokenIds() {
    return Calibration.builder().setSource(folder.resolve("ids.safetensors"));
  }

  private Calibration ofRows(long[][] rows, Calibration.Builder builder) throws IOException {
    writeTokenIds("input_ids", rows, rows.length, rows[0].length);
    return builder.build();
  }

  private void writeTokenIds(String tensor, long[][] rows, long... shape) throws IOException {
    long[] ids = Arrays.stream(rows).flatMapToLong(Arrays::stream).toArray();
    byte[] header =
        ("{\"%s\": {\"dtype\": \"I64\", \"shape\": %s, \"data_offsets\": [0, %d]}}"
                .formatted(tensor, Arrays.toString(shape), ids.length * 8))
            .getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes =
        ByteBuffer.allocate(8 + header.length + ids.length * 8).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(header.length).put(header).asLongBuffer().put(ids);
    Files.write(folder.resolve("ids.safetensors"), bytes.array());
  }
}
