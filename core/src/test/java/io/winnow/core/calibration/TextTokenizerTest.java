package io.winnow.core.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TextTokenizerTest {
  static final Path MODEL = Path.of("..", "examples", "demo", "tiny-mixtral");
  private static final String LONG_TEXT = "def f(x): return x + 1\n".repeat(2000);

  private static TextTokenizer tokenizer;
  @TempDir Path folder;

  @BeforeAll
  static void open() {
    tokenizer = TextTokenizer.open(MODEL);
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  @Test
  void opensAFolderOrItsTokenizerJson() {
    try (TextTokenizer other = TextTokenizer.open(MODEL.resolve("tokenizer.json"))) {
      assertThat(other.encode("a loop")).isNotEmpty().isEqualTo(tokenizer.encode("a loop"));
    }
  }

  @Test
  void optsOutOfTelemetryAndLeavesNoPropertyOfItsOwn() {
    assertThat(System.getProperty("OPT_OUT_TRACKING")).isEqualTo("true");
    assertThat(System.getProperty("RUST_FLAVOR")).isNull();
  }

  @Test
  void decodesWhatItEncoded() {
    String text = "for i in range(10):\n\tprint(\"Grüße, 世界 🌾\")\n";

    assertThat(tokenizer.decode(tokenizer.encode(text))).isEqualTo(text);
  }

  @Test
  void anEmptyTextHasNoTokens() {
    assertThat(tokenizer.encode("")).isEmpty();
    assertThat(tokenizer.decode(new long[0])).isEmpty();
  }

  @Test
  void decodingLeavesOutSpecialTokens() {
    long[] ids = tokenizer.encode("<s>a loop</s>");

    assertThat(ids).startsWith(1L).endsWith(2L);
    assertThat(tokenizer.decode(ids)).isEqualTo("a loop");
  }

  @Test
  void aLongTextIsNeitherTruncatedNorPadded() {
    long[] ids = tokenizer.encode(LONG_TEXT);

    assertThat(ids).hasSizeGreaterThan(10_000);
    assertThat(tokenizer.decode(ids)).isEqualTo(LONG_TEXT);
  }

  @Test
  void aTextWhoseTokensWouldNotFitIntoMemoryIsRefused() {
    int characters = 15_000_000;
    long tokens = 1 << 16; // One a character.
    TextTokenizer.requireMemory(tokens / 4, characters, 600L << 20);

    assertThatThrownBy(() -> TextTokenizer.requireMemory(tokens, characters, 512L << 20))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("15000000 characters takes some 2145 MB")
        .hasMessageContaining("there are 512 MB")
        .hasMessageContaining("WINNOW_JAVA_OPTS");
  }

  @Test
  void truncationAndPaddingInTheFileDoNotHold() throws IOException {
    Path file = folder.resolve("tokenizer.json");
    Files.writeString(file, tokenizerJsonThatTruncatesAndPads());

    try (TextTokenizer other = TextTokenizer.open(file)) {
      assertThat(other.encode("a loop")).isEqualTo(tokenizer.encode("a loop"));
      assertThat(other.encode(LONG_TEXT)).isEqualTo(tokenizer.encode(LONG_TEXT));
    }
  }

  @Test
  void specialTokensAreAddedToPromptsOnly() throws IOException {
    Path file = folder.resolve("tokenizer.json");
    Files.writeString(file, tokenizerJsonThatAddsABeginning());

    try (TextTokenizer other = TextTokenizer.open(folder)) {
      long[] plain = other.encode("a loop");
      assertThat(plain).isEqualTo(tokenizer.encode("a loop"));
      assertThat(other.encodeWithSpecialTokens("a loop"))
          .hasSize(plain.length + 1)
          .startsWith(1L)
          .endsWith(plain);
    }
  }

  @Test
  void aBeginningThatThePromptHasIsNotPutBeforeItAgain() throws IOException {
    Files.writeString(folder.resolve("tokenizer.json"), tokenizerJsonThatAddsABeginning());

    try (TextTokenizer other = TextTokenizer.open(folder)) {
      long[] once = other.encodeWithSpecialTokens("a loop");
      assertThat(other.encodeWithSpecialTokens("<s>a loop")).isEqualTo(once);
      assertThat(other.encodeWithSpecialTokens("<s>")).containsExactly(1);
      assertThat(other.encodeWithSpecialTokens("")).containsExactly(1);
      assertThat(other.encodeWithSpecialTokens("a <s>")).startsWith(1L).endsWith(1L);
      assertThat(other.encodeWithSpecialTokens("</s>")).containsExactly(1, 2);
      // Whoever writes two wants two.
      assertThat(other.encodeWithSpecialTokens("<s><s>")).containsExactly(1, 1);
    }
  }

  @Test
  void aFolderWithoutTokenizerJsonIsRejectedNamingWhatWorksWithoutOne() {
    assertThatThrownBy(() -> TextTokenizer.open(folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(folder.resolve("tokenizer.json").toString())
        .hasMessageContaining("tensor input_ids");
  }

  @Test
  void aDamagedTokenizerJsonIsRejected() throws IOException {
    String json = Files.readString(MODEL.resolve("tokenizer.json"));
    Path truncated = folder.resolve("truncated.json");
    Path other = folder.resolve("other.json");
    Path binary = folder.resolve("binary.json");
    Files.writeString(truncated, json.substring(0, json.length() / 2));
    Files.writeString(other, "{\"model\": {\"type\": \"unheard of\"}}");
    Files.write(binary, new byte[] {(byte) 0xff, 0, 1, 2});

    for (Path file : new Path[] {truncated, other, binary}) {
      assertThatThrownBy(() -> TextTokenizer.open(file))
          .as(file.toString())
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining(file.toString())
          .hasMessageContaining("damaged");
    }
  }

  @Test
  void halfASurrogatePairIsRejected() {
    for (String text : new String[] {"ab\ud83c", "ab\udf3e\ud83c", "ab\ud83cc"}) {
      assertThatThrownBy(() -> tokenizer.encode(text))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("at character 2");
    }
  }

  @Test
  void aWrappedTokenizerRemainsItsOwnersToClose() throws IOException {
    try (HuggingFaceTokenizer host = host().optTruncation(false).build()) {
      try (TextTokenizer wrapper = TextTokenizer.wrap(host)) {
        assertThat(wrapper.encode(LONG_TEXT)).isEqualTo(tokenizer.encode(LONG_TEXT));
      }
      assertThat(host.encode("a loop").getIds()).isNotEmpty();
    }
  }

  @Test
  void aWrappedTokenizerThatTruncatesIsRejectedOnceItWould() throws IOException {
    try (HuggingFaceTokenizer host = host().build()) {
      TextTokenizer wrapper = TextTokenizer.wrap(host);

      assertThat(wrapper.encode("a loop")).isEqualTo(tokenizer.encode("a loop"));
      assertThatThrownBy(() -> wrapper.encode(LONG_TEXT))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("truncates texts at 512 tokens")
          .hasMessageContaining("optTruncation(false)");
      assertThatThrownBy(() -> wrapper.encodeWithSpecialTokens(LONG_TEXT))
          .isInstanceOf(InvalidInputException.class);
    }
  }

  @Test
  void aWrappedTokenizersPaddingIsRemoved() throws IOException {
    try (HuggingFaceTokenizer host =
        host().optTruncation(false).optPadToMaxLength().optMaxLength(32).build()) {
      assertThat(host.encode("a loop").getIds()).hasSize(32);

      assertThat(TextTokenizer.wrap(host).encode("a loop")).isEqualTo(tokenizer.encode("a loop"));
    }
  }

  @Test
  void severalThreadsMayEncodeAtTheSameTime() {
    long[] expected = tokenizer.encode(LONG_TEXT);

    assertThat(IntStream.range(0, 16).parallel().mapToObj(i -> tokenizer.encode(LONG_TEXT)))
        .allSatisfy(ids -> assertThat(ids).isEqualTo(expected));
  }

  @Test
  void closingTwiceDoesNothing() {
    TextTokenizer other = TextTokenizer.open(MODEL);
    other.close();

    assertThatCode(other::close).doesNotThrowAnyException();
  }

  private static HuggingFaceTokenizer.Builder host() {
    return HuggingFaceTokenizer.builder().optTokenizerPath(MODEL);
  }

  private static String tokenizerJsonThatTruncatesAndPads() throws IOException {
    return Files.readString(MODEL.resolve("tokenizer.json"))
        .replace(
            "\"truncation\": null",
            "\"truncation\": {\"direction\": \"Right\", \"max_length\": 16,"
                + " \"strategy\": \"LongestFirst\", \"stride\": 0}")
        .replace(
            "\"padding\": null",
            "\"padding\": {\"strategy\": {\"Fixed\": 16}, \"direction\": \"Right\","
                + " \"pad_to_multiple_of\": null, \"pad_id\": 2, \"pad_type_id\": 0,"
                + " \"pad_token\": \"</s>\"}");
  }

  private static String tokenizerJsonThatAddsABeginning() throws IOException {
    String json = Files.readString(MODEL.resolve("tokenizer.json"));
    int start = json.indexOf("\"post_processor\"");
    int end = json.indexOf("\"decoder\"");
    return json.substring(0, start)
        + "\"post_processor\": {\"type\": \"TemplateProcessing\","
        + " \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}},"
        + " {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],"
        + " \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}},"
        + " {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],"
        + " \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}}},"
        + json.substring(end);
  }
}
