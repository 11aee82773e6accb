package io.winnow.core.internal.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Headers that are damaged, and files that are no safetensors. */
class SafetensorsHeaderTest {
  @TempDir Path folder;

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

  private static void writeAt(Path path, long offset, ByteBuffer data) throws IOException {
    try (FileChannel channel =
        FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
      channel.write(data, offset);
    }
  }
}
