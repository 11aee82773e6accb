package io.winnow.core.generate;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.Fixtures;
import io.winnow.core.calibration.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Text from tokens that end inside characters and stop strings. */
class TextAssemblerTest {
  private static TextTokenizer tokenizer;

  @BeforeAll
  static void open() {
    tokenizer = TextTokenizer.open(Fixtures.TINY_MIXTRAL);
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  /** Feeds tokens until the text stops; the last piece is what the end brings. */
  private static List<String> pieces(TextAssembler assembler, long[] tokens) {
    List<String> pieces = new ArrayList<>();
    for (long token : tokens) {
      assembler.add(token);
      pieces.add(assembler.take());
      if (assembler.stopped()) {
        break;
      }
    }
    pieces.add(assembler.takeRest());
    return pieces;
  }

  private static List<String> pieces(String text, String... stopStrings) {
    return pieces(
        new TextAssembler(tokenizer::decode, List.of(stopStrings)), tokenizer.encode(text));
  }

  @Test
  void aTokenThatEndsInsideACharacterBringsItsTextWithTheNext() {
    String text = "äöü €𝄞 und Grüße, 世界 🌾 x";
    long[] tokens = tokenizer.encode(text);
    assertThat(tokens.length).as("tokens, more than characters").isGreaterThan(text.length());

    List<String> pieces = pieces(text);

    assertThat(String.join("", pieces)).isEqualTo(text);
    assertThat(pieces).noneMatch(piece -> piece.contains("\uFFFD"));
    assertThat(pieces)
        .as("pieces hold whole characters")
        .noneMatch(
            piece ->
                !piece.isEmpty()
                    && (Character.isHighSurrogate(piece.charAt(piece.length() - 1))
                        || Character.isLowSurrogate(piece.charAt(0))));
    assertThat(pieces).filteredOn("𝄞"::equals).hasSize(1);
  }

  @Test
  void aCharacterThatNeverEndsIsShownAsSuchAtTheEnd() {
    long[] tokens = tokenizer.encode("a𝄞");
    long[] cut = Arrays.copyOf(tokens, tokens.length - 1);

    List<String> pieces = pieces(new TextAssembler(tokenizer::decode, List.of()), cut);

    assertThat(String.join("", pieces)).isEqualTo(tokenizer.decode(cut)).endsWith("\uFFFD");
    assertThat(pieces.subList(0, pieces.size() - 1)).noneMatch(piece -> piece.contains("\uFFFD"));
  }

  @Test
  void bytesThatAreNoCharacterDoNotHoldBackWhatFollows() {
    long[] clef = tokenizer.encode("𝄞");
    long[] tokens = {clef[0], tokenizer.encode("a")[0], tokenizer.encode("b")[0]};

    List<String> pieces = pieces(new TextAssembler(tokenizer::decode, List.of()), tokens);

    assertThat(String.join("", pieces)).isEqualTo(tokenizer.decode(tokens));
    assertThat(pieces.get(1)).endsWith("a");
  }

  @Test
  void specialTokensBringNoText() {
    assertThat(String.join("", pieces("<s>a<s>ä</s>b"))).isEqualTo("aäb");
  }

  @Test
  void aStopStringThatSpansTokensIsNotShownBeyondItsStart() {
    String text = "one € two STOP€HERE three";
    assertThat(tokenizer.encode("STOP€HERE").length).isGreaterThan(3);

    assertThat(String.join("", pieces(text, "STOP€HERE"))).isEqualTo("one € two ");
    assertThat(String.join("", pieces(text, "never", "P€H"))).isEqualTo("one € two STO");
  }

  @Test
  void theFirstOfSeveralStopStringsCounts() {
    assertThat(String.join("", pieces("a b c d e", "d", "b c", "c"))).isEqualTo("a ");
  }

  @Test
  void whatOnlyLooksLikeAStopStringIsShownLater() {
    String text = "abababac ababab";

    List<String> pieces = pieces(text, "ababac!", "abababd");

    assertThat(String.join("", pieces)).isEqualTo(text);
    assertThat(pieces.get(pieces.size() - 1)).as("held back until the end").isEqualTo("ababab");
  }

  @Test
  void anyTextComesOutAsItWentIn() {
    String text =
        "def f(x):\n\treturn \"äöü €𝄞\" # 世界\n\n   if x <s> y:\u0000\uFFFD\uFFFD end\uFFFD";
    long[] tokens = tokenizer.encode(text);

    assertThat(
            String.join("", pieces(new TextAssembler(tokenizer::decode, List.of("zzz")), tokens)))
        .isEqualTo(tokenizer.decode(tokens));
  }
}
