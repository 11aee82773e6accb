package io.winnow.core.internal.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.Segment.BufferSegment;
import io.winnow.core.internal.safetensors.Segment.FileSegment;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files that are written, and files of more than two gigabytes. */
class SafetensorsWritingTest {
  @TempDir Path folder;

  @Test
  void readsAndCopiesBeyondTwoGigabytes() throws IOException {
    long rowLength = 1L << 29;
    long rows = 9; // 4.5 GiB
    String header =
        "{\"large\":{\"dtype\":\"U8\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]},"
                .formatted(rows, rowLength, rows * rowLength)
            + "\"small\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[%d,%d]}}"
                .formatted(rows * rowLength, rows * rowLength + 8);
    Path path = TestFiles.safetensors(folder.resolve("sparse.safetensors"), header, 0);
    long start = Files.size(path);
    writeAt(path, start + rows * rowLength, longBytes(42));
    writeAt(path, start + 8 * rowLength + 5, longBytes(7)); // in the last row

    SafetensorsFile file = SafetensorsFile.open(path);
    TensorInfo large = file.tensors().get("large");
    assertThat(large.length()).isGreaterThan(1L << 32);
    assertThat(file.readLongs("small")).containsExactly(42);
    assertThatThrownBy(() -> file.read("large"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(
            "'large'", "4831838208", "2147483647", "OutputTensor.copyOf or rows");

    // The same bytes as a matrix of narrower rows, so that a few rows are a small file.
    TensorInfo narrow =
        new TensorInfo(
            "large",
            TensorType.U8,
            List.of(rows << 20, rowLength >> 20),
            path,
            start,
            large.length());
    Path copy = folder.resolve("copy.safetensors");
    int row = 8 << 20;
    SafetensorsFile.write(
        copy,
        List.of(
            OutputTensor.rows(narrow, "rows", 0, row, row + 1),
            OutputTensor.copyOf(file.tensors().get("small"))),
        Map.of());

    SafetensorsFile copied = SafetensorsFile.open(copy);
    assertThat(copied.readLongs("small")).containsExactly(42);
    assertThat(copied.tensors().get("rows").shape()).containsExactly(3L, rowLength >> 20);
    ByteBuffer bytes = copied.read("rows");
    assertThat(bytes.get(0)).isZero();
    assertThat(bytes.getLong((int) (rowLength >> 20) + 5)).isEqualTo(7);
  }

  private static ByteBuffer longBytes(long value) {
    return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, value);
  }

  private static void writeAt(Path path, long offset, ByteBuffer data) throws IOException {
    try (FileChannel channel =
        FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
      channel.write(data, offset);
    }
  }

  @Test
  void writesAHeaderOfWhichTheDataIsAligned() {
    Path path = folder.resolve("x.safetensors");
    SafetensorsFile.write(
        path,
        List.of(OutputTensor.ofFloats("ab", List.of(1L), new float[] {1})),
        Map.of("b", "2", "a", "1"));

    byte[] content = TestFiles.bytes(path);
    int length = content[0];
    assertThat(length % 8).isZero();
    assertThat(new String(content, 8, length, StandardCharsets.UTF_8).stripTrailing())
        .isEqualTo(
            "{\"__metadata__\":{\"a\":\"1\",\"b\":\"2\"},"
                + "\"ab\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    assertThat(content).hasSize(8 + length + 4);
    assertThat(TestFiles.below(folder)).containsExactly("x.safetensors");
  }

  @Test
  void keepsTheOrderOfTensorsUnlessOneWouldBeMisaligned() {
    OutputTensor oddBytes = TestFiles.ofBytes("bytes", TensorType.U8, List.of(3L), 1, 2, 3);
    OutputTensor fourBytes = TestFiles.ofBytes("more", TensorType.U8, List.of(4L), 1, 2, 3, 4);
    OutputTensor floats = OutputTensor.ofFloats("floats", List.of(1L), new float[] {1});
    Path inOrder = folder.resolve("in-order.safetensors");
    Path sorted = folder.resolve("sorted.safetensors");

    SafetensorsFile.write(inOrder, List.of(fourBytes, floats, oddBytes), Map.of());
    SafetensorsFile.write(sorted, List.of(oddBytes, fourBytes, floats), Map.of());

    assertThat(SafetensorsFile.open(inOrder).tensors().keySet())
        .containsExactly("more", "floats", "bytes");
    assertThat(SafetensorsFile.open(sorted).tensors().keySet())
        .containsExactly("floats", "bytes", "more");
  }

  @Test
  void writesABufferWhoseSegmentsAreLargerThanAChunk() {
    byte[] data = new byte[20 << 20];
    for (int i = 0; i < data.length; i += 4096) {
      data[i] = (byte) (i >> 12);
    }
    OutputTensor tensor =
        new OutputTensor(
            "x",
            TensorType.U8,
            List.of((long) data.length),
            List.of(
                new BufferSegment(ByteBuffer.wrap(data, 0, 9_000_001)),
                new BufferSegment(ByteBuffer.wrap(data, 9_000_001, data.length - 9_000_001))));
    Path path = folder.resolve("x.safetensors");

    SafetensorsFile.write(path, List.of(tensor), Map.of());

    assertThat(TestFiles.bytes(SafetensorsFile.open(path).read("x"))).isEqualTo(data);
  }

  @Test
  void refusesToReplaceAFile() {
    Path path = TestFiles.write(folder.resolve("x.safetensors"), "precious");

    assertThatThrownBy(() -> SafetensorsFile.write(path, List.of(), Map.of()))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("x.safetensors exists already", "choose another", "remove it");
    assertThat(TestFiles.text(path)).isEqualTo("precious");
    assertThat(TestFiles.below(folder)).containsExactly("x.safetensors");
  }

  @Test
  void leavesNothingBehindWhenASourceIsShorterThanPromised() {
    Path source = TestFiles.write(folder.resolve("source"), new byte[10]);
    OutputTensor tensor =
        new OutputTensor("x", TensorType.U8, List.of(8L), List.of(new FileSegment(source, 4, 8)));

    assertThatThrownBy(
            () -> SafetensorsFile.write(folder.resolve("new"), List.of(tensor), Map.of()))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("source", "ends at 10", "12", "start again");
    assertThat(TestFiles.below(folder)).containsExactly("source");
  }

  @Test
  void leavesNothingBehindWhenASourceHasGone() {
    OutputTensor tensor =
        new OutputTensor(
            "x",
            TensorType.U8,
            List.of(8L),
            List.of(new FileSegment(folder.resolve("gone"), 0, 8)));

    assertThatThrownBy(
            () -> SafetensorsFile.write(folder.resolve("new"), List.of(tensor), Map.of()))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("gone", "does not exist");
    assertThat(TestFiles.below(folder)).isEmpty();
  }

  @Test
  void rejectsTwoTensorsOfTheSameName() {
    OutputTensor tensor = OutputTensor.ofLongs("x", List.of(), new long[] {1});

    assertThatThrownBy(
            () -> SafetensorsFile.write(folder.resolve("new"), List.of(tensor, tensor), Map.of()))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'x'", "rename");
    assertThat(TestFiles.below(folder)).isEmpty();
  }
}
