package io.winnow.core.internal.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.common.primitives.Longs;
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
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class SafetensorsFileTest {
  @TempDir Path folder;

  private static OutputTensor ofBytes(String name, TensorType type, List<Long> shape, int... data) {
    byte[] bytes = new byte[data.length];
    for (int i = 0; i < data.length; i++) {
      bytes[i] = (byte) data[i];
    }
    return new OutputTensor(name, type, shape, List.of(new BufferSegment(ByteBuffer.wrap(bytes))));
  }

  @Test
  void readsTheHeaderThatTransformersWrote() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));

    assertThat(file.metadata()).containsExactly(Map.entry("format", "pt"));
    assertThat(file.tensors().keySet()).first().isEqualTo("lm_head.weight");
    TensorInfo info = file.tensors().get("lm_head.weight");
    assertThat(info.type()).isEqualTo(TensorType.BF16);
    assertThat(info.shape()).containsExactly(1024L, 128L);
    assertThat(info.elements()).isEqualTo(1024 * 128);
    assertThat(info.length()).isEqualTo(262_144);
    assertThat(file.tensors().values().stream().map(TensorInfo::offset)).isSorted();
  }

  @Test
  void metadataThatIsNullIsAbsent() {
    Path file =
        TestFiles.safetensors(
            folder.resolve("null.safetensors"),
            "{\"__metadata__\":null,\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
            2);

    assertThat(SafetensorsFile.open(file).metadata()).isEmpty();
    assertThat(SafetensorsFile.open(file).tensors()).containsOnlyKeys("a");
  }

  @Test
  void readsTheGoldensIntoArrays() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.RESOURCES.resolve("goldens/mixtral/golden.safetensors"));

    assertThat(Longs.asList(file.readLongs("input_ids")))
        .hasSize(34)
        .allMatch(id -> id >= 0 && id < 100_000, "a token id");
    float[] logits = file.readFloats("logits");
    assertThat(logits).hasSize((int) file.tensors().get("logits").elements());
    assertThat(logits[0]).isNotZero().isBetween(-100f, 100f);
  }

  @Test
  void readsEveryIntegerTypeAsLongs() {
    Path path = folder.resolve("integers.safetensors");
    SafetensorsFile.write(
        path,
        List.of(
            OutputTensor.ofLongs("i64", List.of(2L), new long[] {Long.MIN_VALUE, 7}),
            ofBytes("i32", TensorType.I32, List.of(1L), 0xfe, 0xff, 0xff, 0xff),
            ofBytes("u32", TensorType.U32, List.of(1L), 0xfe, 0xff, 0xff, 0xff),
            ofBytes("i16", TensorType.I16, List.of(1L), 0xfe, 0xff),
            ofBytes("u16", TensorType.U16, List.of(1L), 0xfe, 0xff),
            ofBytes("i8", TensorType.I8, List.of(1L), 0xfe),
            ofBytes("u8", TensorType.U8, List.of(1L), 0xfe),
            ofBytes("bool", TensorType.BOOL, List.of(2L), 0, 1)),
        Map.of());

    SafetensorsFile file = SafetensorsFile.open(path);
    assertThat(file.readLongs("i64")).containsExactly(Long.MIN_VALUE, 7);
    assertThat(file.readLongs("i32")).containsExactly(-2);
    assertThat(file.readLongs("u32")).containsExactly(0xfffffffeL);
    assertThat(file.readLongs("i16")).containsExactly(-2);
    assertThat(file.readLongs("u16")).containsExactly(0xfffe);
    assertThat(file.readLongs("i8")).containsExactly(-2);
    assertThat(file.readLongs("u8")).containsExactly(0xfe);
    assertThat(file.readLongs("bool")).containsExactly(0, 1);
  }

  @Test
  void readsEveryFloatingPointTypeAsFloats() {
    Path path = folder.resolve("floats.safetensors");
    ByteBuffer doubles = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    doubles.putDouble(0, 0.1);
    SafetensorsFile.write(
        path,
        List.of(
            new OutputTensor("f64", TensorType.F64, List.of(), List.of(new BufferSegment(doubles))),
            OutputTensor.ofFloats("f32", List.of(2L), new float[] {1.5f, -0f}),
            ofBytes("bf16", TensorType.BF16, List.of(2L), 0xc0, 0x3f, 0x80, 0xff),
            ofBytes("f16", TensorType.F16, List.of(1L), 0x01, 0xbc)),
        Map.of());

    SafetensorsFile file = SafetensorsFile.open(path);
    assertThat(file.readFloats("f64")).containsExactly(0.1f);
    assertThat(file.readFloats("f32")).containsExactly(1.5f, -0f);
    assertThat(file.readFloats("bf16")).containsExactly(1.5f, Float.NEGATIVE_INFINITY);
    assertThat(file.readFloats("f16")).containsExactly(-1.0009765625f);
  }

  @Test
  void decodesAllKindsOfHalfPrecisionNumbers() {
    assertThat(HalfFloat.toFloat((short) 0x3c00)).isEqualTo(1f);
    assertThat(HalfFloat.toFloat((short) 0xc000)).isEqualTo(-2f);
    assertThat(HalfFloat.toFloat((short) 0x7bff)).isEqualTo(65504f);
    assertThat(HalfFloat.toFloat((short) 0x0400)).isEqualTo(0x1p-14f);
    assertThat(HalfFloat.toFloat((short) 0x0001)).isEqualTo(0x1p-24f);
    assertThat(HalfFloat.toFloat((short) 0x83ff)).isEqualTo(-1023 * 0x1p-24f);
    assertThat(HalfFloat.toFloat((short) 0x8000)).isEqualTo(-0f);
    assertThat(HalfFloat.toFloat((short) 0x7c00)).isEqualTo(Float.POSITIVE_INFINITY);
    assertThat(HalfFloat.toFloat((short) 0xfc00)).isEqualTo(Float.NEGATIVE_INFINITY);
    assertThat(HalfFloat.toFloat((short) 0x7e00)).isNaN();
  }

  @Test
  void readsEveryTypeOfTheFormatAsBytes() {
    for (TensorType type : TensorType.values()) {
      Path path = folder.resolve(type + ".safetensors");
      int length = type.bits() * 8 / 8;
      TestFiles.safetensors(
          path,
          "{\"x\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%d]}}"
              .formatted(type, length),
          length);

      assertThat(SafetensorsFile.open(path).read("x").remaining()).as("%s", type).isEqualTo(length);
    }
    assertThat(TensorType.C64.bytes()).isEqualTo(8);
    assertThatThrownBy(TensorType.F4::bytes)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("F4", "4 bits");
  }

  @Test
  void readsASingleValueAndAnEmptyTensor() {
    Path path = folder.resolve("small.safetensors");
    SafetensorsFile.write(
        path,
        List.of(
            OutputTensor.ofLongs("empty", List.of(0L, 3L), new long[0]),
            OutputTensor.ofLongs("one", List.of(), new long[] {5}),
            OutputTensor.ofLongs("end", List.of(0L), new long[0])),
        Map.of());

    SafetensorsFile file = SafetensorsFile.open(path);
    assertThat(file.readLongs("empty")).isEmpty();
    assertThat(file.readLongs("one")).containsExactly(5);
    assertThat(file.readLongs("end")).isEmpty();
    assertThat(file.tensors().get("one").elements()).isEqualTo(1);
  }

  @Test
  void givesBytesThatCannotBeChanged() {
    ByteBuffer bytes =
        SafetensorsFile.open(TestFiles.safetensors(folder.resolve("x"), HEADER, 4)).read("a");

    assertThat(bytes.isReadOnly()).isTrue();
    assertThat(bytes.order()).isEqualTo(ByteOrder.LITTLE_ENDIAN);
    assertThat(bytes.getInt(0)).isEqualTo(0x03020100);
  }

  @Test
  void namesTheTensorsThereAreWhenOneIsMissing() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));

    assertThatThrownBy(() -> file.read("input_ids"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("model.safetensors", "'input_ids'", "lm_head.weight", "…");
  }

  @Test
  void rejectsReadingATypeAsAnother() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));

    assertThatThrownBy(() -> file.readLongs("lm_head.weight"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'lm_head.weight'", "BF16", "I64");
    SafetensorsFile bytes =
        SafetensorsFile.open(TestFiles.safetensors(folder.resolve("x"), HEADER, 4));
    assertThatThrownBy(() -> bytes.readFloats("a"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'a'", "U8", "F32");
  }

  private static final String HEADER =
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";

  private static String entry(String name, String shape, String offsets) {
    return "\"%s\":{\"dtype\":\"U8\",\"shape\":%s,\"data_offsets\":%s}"
        .formatted(name, shape, offsets);
  }

  private static Arguments damage(String name, String header, int dataBytes, String... expected) {
    return Arguments.of(name, header, dataBytes, expected);
  }

  static Stream<Arguments> damagedHeaders() {
    String max = Long.toString(Long.MAX_VALUE);
    return Stream.of(
        damage("no JSON", "hello", 0, "not valid JSON"),
        damage("single quotes", "{'a':1}", 0, "not valid JSON"),
        damage("cut off", "{\"a\":{\"dtype\":\"U8\"", 0, "not valid JSON"),
        damage("something behind", HEADER + "{}", 4, "not valid JSON"),
        damage("not UTF-8", "", 0, "not valid JSON"),
        damage("an array", "[]", 0, "its header is an array, expected an object"),
        damage("a number", "1", 0, "its header is a number"),
        damage("an entry that is null", "{\"a\":null}", 0, "'a'", "null"),
        damage(
            "the same name twice",
            "{" + entry("a", "[1]", "[0,1]") + "," + entry("a", "[1]", "[1,2]") + "}",
            2,
            "'a'",
            "two entries"),
        damage(
            "the same field twice",
            "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}",
            0,
            "'dtype' twice"),
        damage("metadata that is a list", "{\"__metadata__\":[]}", 0, "__metadata__", "array"),
        damage("metadata that is a number", "{\"__metadata__\":{\"k\":1}}", 0, "'k'", "number"),
        damage("metadata twice", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}", 0, "'k'", "twice"),
        damage(
            "no type",
            "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}",
            1,
            "'a'",
            "lacks its dtype"),
        damage(
            "no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "lacks its shape"),
        damage(
            "no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "lacks its data_offsets"),
        damage("a type that is a number", "{\"a\":{\"dtype\":8}}", 1, "'a''s dtype", "a number"),
        damage(
            "an unknown type",
            "{\"a\":{\"dtype\":\"Q4_K\",\"shape\":[1],\"data_offsets\":[0,1]}}",
            1,
            "'a'",
            "'Q4_K'",
            "BF16",
            "Convert"),
        damage(
            "a shape that is a number",
            "{" + entry("a", "4", "[0,4]") + "}",
            4,
            "shape",
            "a number"),
        damage(
            "a dimension that is a text",
            "{" + entry("a", "[\"4\"]", "[0,4]") + "}",
            4,
            "shape[0]",
            "a text"),
        damage("a fraction", "{" + entry("a", "[4.0]", "[0,4]") + "}", 4, "4.0", "whole number"),
        damage(
            "a negative dimension", "{" + entry("a", "[2,-2]", "[0,4]") + "}", 4, "-2", "negative"),
        damage(
            "too large a dimension",
            "{" + entry("a", "[9223372036854775808]", "[0,4]") + "}",
            4,
            "9223372036854775808"),
        damage(
            "too many elements",
            "{" + entry("a", "[4294967296,4294967296]", "[0,4]") + "}",
            4,
            "[4294967296, 4294967296]",
            "overflow"),
        damage(
            "too many dimensions",
            "{" + entry("a", "[" + "1,".repeat(64) + "1]", "[0,1]") + "}",
            1,
            "64"),
        damage(
            "an F4 tensor that ends within a byte",
            "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}",
            2,
            "12 bits"),
        damage("three offsets", "{" + entry("a", "[4]", "[0,4,4]") + "}", 4, "[0, 4, 4]"),
        damage("offsets in reverse", "{" + entry("a", "[4]", "[4,0]") + "}", 4, "[4, 0]"),
        damage("negative offsets", "{" + entry("a", "[4]", "[-4,0]") + "}", 4, "-4", "negative"),
        damage(
            "another length than the shape's",
            "{" + entry("a", "[2,3]", "[0,4]") + "}",
            4,
            "'a'",
            "[2, 3]",
            "6 bytes",
            "[0, 4]",
            "span 4"),
        damage(
            "overlapping tensors",
            "{" + entry("a", "[4]", "[0,4]") + "," + entry("b", "[4]", "[2,6]") + "}",
            6,
            "'b'",
            "overlaps",
            "'a'"),
        damage(
            "a hole between tensors",
            "{" + entry("a", "[2]", "[0,2]") + "," + entry("b", "[2]", "[4,6]") + "}",
            6,
            "'b'",
            "hole",
            "2"),
        damage("a hole before the first", "{" + entry("a", "[2]", "[2,4]") + "}", 4, "'a'", "hole"),
        damage("bytes behind the last", "{" + entry("a", "[2]", "[0,2]") + "}", 4, "no tensor"),
        damage("missing data", HEADER, 3, "truncated", "promises 65 bytes", "has 64", "'a'"),
        damage(
            "data at the end of the address space",
            "{" + entry("a", "[" + max + "]", "[0," + max + "]") + "}",
            4,
            "truncated",
            max),
        damage("deep nesting", "{\"a\":" + "[".repeat(1_000_000), 0, "an array"),
        damage(
            "deep nesting in an unknown field",
            "{\"a\":{\"x\":" + "[".repeat(1_000_000),
            0,
            "not valid JSON",
            "esting"));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("damagedHeaders")
  void rejectsADamagedHeader(String name, String header, int dataBytes, String[] expected) {
    Path path = folder.resolve("damaged.safetensors");
    if (name.equals("not UTF-8")) {
      TestFiles.write(path, new byte[] {4, 0, 0, 0, 0, 0, 0, 0, '{', '"', (byte) 0xff, '"'});
    } else {
      TestFiles.safetensors(path, header, dataBytes);
    }

    assertThatThrownBy(() -> SafetensorsFile.open(path))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(expected)
        .hasMessageContaining("damaged.safetensors")
        .hasMessageMatching("(?s).*(Download the file again|Convert it).*");
  }

  @Test
  void rejectsAFileThatIsShorterThanAHeaderLength() {
    Path path = TestFiles.write(folder.resolve("short.safetensors"), new byte[] {1, 2, 3});

    assertThatThrownBy(() -> SafetensorsFile.open(path))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("short.safetensors", "3 bytes", "Download the file again");
  }

  @Test
  void rejectsAnImpossibleHeaderLength() {
    for (long length : new long[] {-1, 9, Long.MAX_VALUE, Long.MIN_VALUE}) {
      byte[] content =
          ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN).putLong(length).array();
      Path path = TestFiles.write(folder.resolve("length.safetensors"), content);

      assertThatThrownBy(() -> SafetensorsFile.open(path))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContainingAll("" + length, "only 8 bytes", "Download the file again");
    }
  }

  @Test
  void rejectsAHeaderOfMoreThan100Megabytes() throws IOException {
    Path path = folder.resolve("sparse.safetensors");
    writeAt(path, 0, ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, 100_000_001));
    writeAt(path, 200_000_000, ByteBuffer.allocate(1));

    assertThatThrownBy(() -> SafetensorsFile.open(path))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("100000001", "100000000");
  }

  @Test
  void recognisesThePointerThatGitLeavesForALargeFile() {
    Path path =
        TestFiles.write(
            folder.resolve("model.safetensors"),
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n");

    assertThatThrownBy(() -> SafetensorsFile.open(path))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("model.safetensors", "git lfs pull");
  }

  @Test
  void rejectsWhatIsNoFile() {
    assertThatThrownBy(() -> SafetensorsFile.open(folder.resolve("absent")))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("absent", "does not exist");
    assertThatThrownBy(() -> SafetensorsFile.open(folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(folder.toString(), "not a file");
  }

  @Test
  void shortensANameThatIsAsLongAsAHeader() {
    Path path =
        TestFiles.safetensors(folder.resolve("x"), "{\"" + "n".repeat(1_000_000) + "\":1}", 0);

    assertThatThrownBy(() -> SafetensorsFile.open(path))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("n…'")
        .satisfies(failure -> assertThat(failure.getMessage()).hasSizeLessThan(1000));
  }

  @Test
  void ignoresFieldsThatItDoesNotKnow() {
    Path path =
        TestFiles.safetensors(
            folder.resolve("x"),
            "{\"a\":{\"new\":{\"b\":[1]},\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}  ",
            4);

    assertThat(SafetensorsFile.open(path).tensors()).containsOnlyKeys("a");
  }

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
    OutputTensor oddBytes = ofBytes("bytes", TensorType.U8, List.of(3L), 1, 2, 3);
    OutputTensor fourBytes = ofBytes("more", TensorType.U8, List.of(4L), 1, 2, 3, 4);
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
