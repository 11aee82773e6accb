package io.winnow.core.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonLines;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Texts as they are distributed. The files were written by Python's json, gzip, bz2 and lzma; the
 * same three documents are in all that are named after lines or rows.
 */
class CalibrationFilesTest {
  private static final Path TEXTS = Path.of("src/test/resources/texts");
  private static final List<String> DOCUMENTS =
      List.of("The first text.\nIt has two lines.", "Zweiter Text: größer, 世界 and 😀.", "third");
  private static final String PROSE =
      "{Begin} of a text that is none of JSON:\n[1] größer, 世界 and 😀.\n";

  @TempDir Path folder;

  private static List<String> read(Path file, String field, boolean plain) {
    List<String> documents = new ArrayList<>();
    CalibrationFiles.readDocuments(file, field, plain, documents::add);
    return documents;
  }

  private static List<String> read(String name) {
    return read(TEXTS.resolve(name), "text", false);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "lines.jsonl",
        "upper.JSONL",
        "lines.ndjson",
        "lines.txt",
        "windows-lines.json",
        "c4-train.00000-of-01024.json",
        "c4-train.00000-of-01024.json.gz",
        "lines.jsonl.gz",
        "two-members.json.gz",
        "compressed-without-ending",
        "rows.json",
        "rows.txt",
        "rows.json.gz",
        "mark.jsonl",
        "mark-rows.json",
        "utf16.jsonl",
        "utf16-big.json",
        "utf16-unmarked.jsonl",
        "utf16-rows.json.gz",
        "utf32.jsonl"
      })
  void readsTheDocumentsOfObjectsWhateverTheFileIsCalled(String name) {
    assertThat(read(name)).isEqualTo(DOCUMENTS);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "prose.txt",
        "prose-mark.txt",
        "prose-utf16.txt",
        "prose-utf16-big.txt",
        "prose.txt.gz"
      })
  void readsProseAsOneDocument(String name) {
    assertThat(read(name)).containsExactly(PROSE);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"object.json", "objects.json", "columns.json", "strings.json", "numbers.txt"})
  void refusesOtherJsonUnlessAskedFor(String name) throws Exception {
    Path file = TEXTS.resolve(name);
    assertThatThrownBy(() -> read(name))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageStartingWith(file + " holds JSON")
        .hasMessageContaining("one JSON object a line")
        .hasMessageContaining("--plain-text");
    assertThat(read(file, "text", true)).containsExactly(Files.readString(file));
  }

  @Test
  void plainTextIsOneDocumentAlsoWhereItIsLines() throws Exception {
    Path file = TEXTS.resolve("lines.jsonl");
    assertThat(read(file, "text", true)).containsExactly(Files.readString(file));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "chat.jsonl | Line 1 of | \"messages\" | apply_chat_template",
        "sharegpt.json | Row 1 of | \"conversations\" | apply_chat_template",
        "content.jsonl | Line 1 of | [content, lang] | --text-field",
        "named-json.json | Line 1 of | not valid JSON | one JSON object a line",
        "cut.jsonl.gz | cut.jsonl.gz cannot be read | cut off | Download it again",
        "damaged.jsonl.gz | damaged.jsonl.gz cannot be read | damaged | Download it again",
        "lines.jsonl.zst | lines.jsonl.zst is | Zstandard | zstd -d lines.jsonl.zst",
        "lines.jsonl.bz2 | lines.jsonl.bz2 is | bzip2 | bunzip2",
        "lines.jsonl.xz | lines.jsonl.xz is | xz | xz -d",
        "rows.parquet | rows.parquet is | Parquet | to_json",
        "utf16-odd.txt | utf16-odd.txt is not | UTF-16 | iconv",
        "pointer.jsonl | pointer.jsonl is | large file storage | git lfs pull"
      })
  void namesWhatIsNotReadAndTheCure(String name, String start, String what, String cure) {
    assertThatThrownBy(() -> read(name))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(start)
        .hasMessageContaining(what)
        .hasMessageContaining(cure)
        .hasMessageNotContaining("optTextField");
  }

  @Test
  void readsAnotherField() {
    assertThat(read(TEXTS.resolve("content.jsonl"), "content", false)).isEqualTo(DOCUMENTS);
  }

  @Test
  void aListNamesTheRowThatIsWrong() throws Exception {
    Path file = folder.resolve("rows.json");
    Files.writeString(file, "[{\"text\": \"a\"}, 1]");
    assertThatThrownBy(() -> read(file, "text", false))
        .hasMessageContaining("Row 2 of " + file + " is not a JSON object but 1");
    Files.writeString(file, "[{\"text\": \"a\"}, {\"text\": ");
    assertThatThrownBy(() -> read(file, "text", false))
        .hasMessageContaining("Row 2 of " + file + " is not valid JSON");
    Files.writeString(file, "[{\"text\": \"a\"}] and more");
    assertThatThrownBy(() -> read(file, "text", false))
        .hasMessageContaining("of " + file + " is not valid JSON");
  }

  @Test
  void namesTheLineWhoseTextIsRefused() throws Exception {
    Path file = folder.resolve("half.jsonl");
    Files.writeString(file, "{\"text\": \"a\"}\n{\"text\": \"\\ud800\"}\n");
    try (TextTokenizer tokenizer = TextTokenizer.open(Fixtures.TINY_MIXTRAL)) {
      assertThatThrownBy(() -> Calibration.ofText(tokenizer, file, 1, 1))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("Line 2 of " + file + ": The text is not valid Unicode");
    }
  }

  @Test
  void knowsTokenIdsByTheirContent() {
    Path file = TEXTS.resolve("token-ids");
    assertThat(Calibration.builder().setSource(file).build().sequences().sequence(0))
        .containsExactly(5, 6, 7);
  }

  /** Much longer than the limit, of which compressed data takes next to nothing. */
  @ParameterizedTest
  @ValueSource(strings = {"", "["})
  void refusesALineThatWouldFillTheMemory(String bracket) throws Exception {
    Path file = folder.resolve("long.json.gz");
    try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(file))) {
      out.write((bracket + "{\"text\": \"").getBytes(StandardCharsets.US_ASCII));
      writeLetters(out, 8L * JsonLines.MAX_LINE_BYTES);
      out.write("\"}".getBytes(StandardCharsets.US_ASCII));
    }
    assertThatThrownBy(() -> read(file, "text", false))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining((bracket.isEmpty() ? "Line" : "Row") + " 1 of " + file)
        .hasMessageContaining("longer than the 16777216 bytes");
  }

  @Test
  void refusesATextThatWouldFillTheMemory() throws Exception {
    Path file = folder.resolve("long.txt.gz");
    try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(file))) {
      writeLetters(out, 65L << 20);
    }
    assertThatThrownBy(() -> read(file, "text", false))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(file.toString())
        .hasMessageContaining("67108864");
  }

  private static void writeLetters(OutputStream out, long count) throws IOException {
    byte[] letters = "a".repeat(1 << 20).getBytes(StandardCharsets.US_ASCII);
    for (long written = 0; written < count; written += letters.length) {
      out.write(letters);
    }
  }
}
