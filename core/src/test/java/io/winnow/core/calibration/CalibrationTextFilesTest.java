package io.winnow.core.calibration;

import static io.winnow.core.Refusal.assertInvalid;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files of text that a calibration is read from. */
class CalibrationTextFilesTest {
  private static TextTokenizer tokenizer;
  @TempDir Path folder;

  @BeforeAll
  static void open() {
    tokenizer = TextTokenizer.open(Path.of("..", "examples", "demo", "tiny-mixtral"));
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  @Test
  void aByteOrderMarkIsNotText() throws IOException {
    Path marked = write("marked.txt", "\uFEFFa loop");

    assertThat(ofFile(marked).optLength(1).build().sequences().flatten(0, 1))
        .containsExactly(tokenizer.encode("a loop")[0]);
  }

  @Test
  void textThatIsNotUtf8IsRejectedWithTheCure() throws IOException {
    Path text = folder.resolve("latin1.txt");
    Path lines = folder.resolve("latin1.jsonl");
    Files.write(text, "abc Grüße".getBytes(StandardCharsets.ISO_8859_1));
    Files.write(
        lines, "{\"text\": \"a\"}\n{\"text\": \"ü\"}\n".getBytes(StandardCharsets.ISO_8859_1));

    assertInvalid(() -> ofFile(text).build())
        .hasMessageContaining("not UTF-8")
        .hasMessageContaining("byte 0xfc at offset 6")
        .hasMessageContaining("iconv");
    assertInvalid(() -> ofFile(lines).build()).hasMessageContaining("byte 0xfc in line 2");
  }

  @Test
  void aFileThatIsNotThereOrIsAFolderIsRejected() throws IOException {
    Path missing = folder.resolve("missing.txt");

    assertInvalid(() -> ofFile(missing).build()).hasMessageContaining("No such file: " + missing);
    assertInvalid(() -> ofFile(folder).build()).hasMessageContaining("Not a file: " + folder);
    assertInvalid(() -> ofFile(folder.resolve("missing.jsonl")).build())
        .hasMessageContaining("No such file");
    assertInvalid(() -> ofFile(folder.resolve("missing.safetensors")).build())
        .hasMessageContaining("No such file");
  }

  @Test
  void aTextFileTooLargeToReadWholeIsRejected() throws IOException {
    Path large = folder.resolve("large.txt");
    try (var file = new RandomAccessFile(large.toFile(), "rw")) {
      file.setLength((64L << 20) + 1); // sparse
    }

    assertInvalid(() -> ofFile(large).build())
        .hasMessageContaining("67108865 bytes")
        .hasMessageContaining("Give a part of it");
  }

  // JSON lines

  @Test
  void jsonLinesAreDocumentsAndBlankLinesAreSkipped() throws IOException {
    Path file =
        write(
            "documents.jsonl",
            "{\"id\": 1, \"text\": \"A first one.\"}\r\n\n  \n{\"text\": \"Gr\\u00fc\\u00dfe\"}");

    Calibration calibration = ofFile(file).optLength(5).build();

    assertThat(calibration.digest())
        .isEqualTo(
            Calibration.builder()
                .setDocuments(List.of("A first one.", "Grüße"))
                .optTokenizer(tokenizer)
                .optLength(5)
                .build()
                .digest());
  }

  @Test
  void theTextMayBeInAnotherField() throws IOException {
    Path file = write("content.JSONL", "{\"content\": \"A first one.\", \"text\": 1}\n");

    assertThat(ofFile(file).optTextField("content").optLength(2).build().sequences().sequence(0))
        .isEqualTo(Arrays.copyOf(tokenizer.encode("A first one."), 2));
  }

  @Test
  void aLineThatIsNotJsonIsRejectedWithItsNumber() throws IOException {
    for (String bad : List.of("{\"text\": \"b\"", "{\"text\": \"b\"} x", "{text: 'b'}", "text")) {
      Path file = write("bad.jsonl", "{\"text\": \"a\"}\n\n" + bad + "\n");

      assertInvalid(() -> ofFile(file).build())
          .as(bad)
          .hasMessageContaining("Line 3 of " + file)
          .hasMessageContaining("not valid JSON");
    }
  }

  @Test
  void aLineThatIsNotAnObjectIsRejected() throws IOException {
    Path array = write("array.jsonl", "[\"a\"]\n");
    Path string = write("string.jsonl", "\"a\"\n");

    assertInvalid(() -> ofFile(array).build())
        .hasMessageContaining("Line 1")
        .hasMessageContaining("not a JSON object but an array");
    assertInvalid(() -> ofFile(string).build()).hasMessageContaining("but a string");
  }

  @Test
  void aMissingFieldIsRejectedNamingTheFieldsThatAreThere() throws IOException {
    Path file = write("other.jsonl", "{\"text\": \"a\"}\n{\"content\": \"b\", \"id\": 3}\n");

    assertInvalid(() -> ofFile(file).build())
        .hasMessageContaining("Line 2 of " + file)
        .hasMessageContaining("no field \"text\"")
        .hasMessageContaining("[content, id]")
        .hasMessageContaining("--text-field");
  }

  @Test
  void aFieldThatIsNotAStringIsRejected() throws IOException {
    for (String value : List.of("null", "17", "[\"a\"]", "{\"a\": 1}")) {
      Path file = write("number.jsonl", "{\"text\": " + value + "}\n");

      assertInvalid(() -> ofFile(file).build())
          .hasMessageContaining("Field \"text\" in line 1 of " + file)
          .hasMessageContaining("not a string but");
    }
  }

  private static Calibration.Builder ofFile(Path file) {
    return Calibration.builder().setSource(file).optTokenizer(tokenizer);
  }

  private Path write(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }
}
