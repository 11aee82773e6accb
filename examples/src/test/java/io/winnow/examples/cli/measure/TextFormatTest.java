package io.winnow.examples.cli.measure;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.examples.cli.Cli;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code --text-field} and {@code --plain-text}; what else texts may be, core's tests say. */
class TextFormatTest {
  private static final Path TEXTS = Path.of("..", "core", "src", "test", "resources", "texts");

  @TempDir private Path folder;

  private double perplexity(String text, String more) {
    Path json = folder.resolve("result.json");
    Cli.succeed(
        "evaluate --model MODEL --length 8 --text {} --json {}" + more, TEXTS.resolve(text), json);
    return Cli.json(json).get("perplexity").getAsDouble();
  }

  @ParameterizedTest
  @CsvSource({
    "content.jsonl, --text-field content",
    "c4-train.00000-of-01024.json.gz, ''",
    "rows.json, ''"
  })
  void theTextOfRowsIsWhatCounts(String text, String option) {
    assertThat(perplexity(text, option.isEmpty() ? "" : " " + option))
        .isEqualTo(perplexity("lines.jsonl", ""));
  }

  @Test
  void plainTextIsReadWithItsBrackets() {
    assertThat(perplexity("lines.jsonl", " --plain-text"))
        .isNotEqualTo(perplexity("lines.jsonl", ""));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "content.jsonl | [content, lang] | --text-field",
        "columns.json | one JSON object a line | --plain-text",
        "chat.jsonl | \"messages\" | apply_chat_template",
        "lines.jsonl.zst | Zstandard | zstd -d lines.jsonl.zst"
      })
  void whatIsNotReadIsNamedWithTheCure(String row) {
    List<String> parts = List.of(row.split(" \\| "));
    Path text = TEXTS.resolve(parts.get(0));
    Cli.assertRefused(
        Cli.run("evaluate --model MODEL --length 8 --text {}", text),
        text.toString(),
        parts.get(1),
        parts.get(2));
  }
}
