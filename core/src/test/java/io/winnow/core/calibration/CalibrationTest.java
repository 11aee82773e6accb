package io.winnow.core.calibration;

import static io.winnow.core.Refusal.assertInvalid;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import io.winnow.core.TokenSequences;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CalibrationTest {
  private static final Path MODEL = Path.of("..", "examples", "demo", "tiny-mixtral");
  private static final Path TEXTS = Path.of("..", "examples", "demo", "text");
  private static final Path PROSE = TEXTS.resolve("prose.calib.txt");
  private static final int PROSE_BLOCKS_OF_256 = 45379 / 256;

  private static TextTokenizer tokenizer;
  private static long[] prose;
  @TempDir Path folder;

  @BeforeAll
  static void open() throws IOException {
    tokenizer = TextTokenizer.open(MODEL);
    prose = tokenizer.encode(Files.readString(PROSE));
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  // Blocks of text

  @Test
  void theBundledTextsHaveTheNumberOfTokensThatTheReferenceCounted() throws IOException {
    assertThat(tokenizer.encode(Files.readString(TEXTS.resolve("code.calib.txt")))).hasSize(119236);
    assertThat(prose).hasSize(45379);
  }

  @Test
  void textIsCutIntoConsecutiveBlocksAndTheRestIsDropped() {
    Calibration calibration = Calibration.ofText(tokenizer, PROSE, PROSE_BLOCKS_OF_256, 256);

    assertThat(calibration.sequences()).isEqualTo(proseBlocks(256, range(PROSE_BLOCKS_OF_256)));
    assertThat(calibration.description()).isEqualTo("177 blocks of 256 tokens: all there are");
  }

  @Test
  void aSampleIsDrawnByShufflingBlockNumbersAndPutInFileOrder() {
    List<Integer> numbers =
        new ArrayList<>(IntStream.range(0, PROSE_BLOCKS_OF_256).boxed().toList());
    Collections.shuffle(numbers, new Random(7));
    int[] chosen = numbers.stream().limit(12).sorted().mapToInt(Integer::intValue).toArray();

    Calibration calibration = ofProse().optSequences(12).optLength(256).optSeed(7).build();

    assertThat(calibration.sequences()).isEqualTo(proseBlocks(256, chosen));
    assertThat(calibration.seed()).isEqualTo(7);
    assertThat(calibration.description())
        .isEqualTo("12 of 177 blocks of 256 tokens, sampled with seed 7");
  }

  @Test
  void theSampleIsTheSameWithTheSameSeedAndAnotherWithAnother() {
    Calibration first = ofProse().optSequences(12).optLength(256).build();
    Calibration again = Calibration.ofText(tokenizer, PROSE, 12, 256);
    Calibration other = ofProse().optSequences(12).optLength(256).optSeed(1).build();

    assertThat(again.sequences()).isEqualTo(first.sequences());
    assertThat(again.digest()).isEqualTo(first.digest()).isEqualTo(first.sequences().digest());
    assertThat(first.seed()).isZero();
    assertThat(other.sequences()).isNotEqualTo(first.sequences());
    assertThat(other.digest()).isNotEqualTo(first.digest());
  }

  @Test
  void whereFewerBlocksAreThereThanWantedAllAreUsedAndTheDescriptionSaysSo() {
    Calibration calibration = ofProse().optSequences(1000).optLength(256).build();

    assertThat(calibration.sequences()).isEqualTo(proseBlocks(256, range(PROSE_BLOCKS_OF_256)));
    assertThat(calibration.description())
        .isEqualTo("177 blocks of 256 tokens: all there are, 1000 were wanted");
    assertThat(calibration).hasToString("Calibration[" + calibration.description() + "]");
  }

  @Test
  void byDefault128BlocksOf2048TokensAreWanted() {
    assertThat(ofProse().build().description())
        .isEqualTo("22 blocks of 2048 tokens: all there are, 128 were wanted");
  }

  @Test
  void byDefaultBlocksAreNoLongerThanTheModelsPositions() {
    assertThat(ofProse().optMaxPositions(512).build().description())
        .isEqualTo("88 blocks of 512 tokens: all there are, 128 were wanted");
    assertThat(ofProse().optMaxPositions(32768).build().sequences().length()).isEqualTo(2048);
  }

  @Test
  void theHostsOwnTokenizerServesAsWell() throws IOException {
    try (HuggingFaceTokenizer host =
        HuggingFaceTokenizer.builder().optTokenizerPath(MODEL).optTruncation(false).build()) {
      assertThat(Calibration.ofText(host, PROSE, 12, 256).digest())
          .isEqualTo(Calibration.ofText(tokenizer, PROSE, 12, 256).digest());
    }
  }

  @Test
  void theHostsTokenizerMustNotTruncate() throws IOException {
    try (HuggingFaceTokenizer host =
        HuggingFaceTokenizer.builder().optTokenizerPath(MODEL).build()) {
      assertInvalid(() -> Calibration.ofText(host, PROSE, 12, 256))
          .hasMessageContaining("optTruncation(false)");
    }
  }

  @Test
  void documentsAreTokenisedOneByOneAndConcatenated() {
    List<String> documents = List.of("A first docu", "", "ment about loops.", "And one more.");
    long[] expected =
        documents.stream().flatMapToLong(d -> Arrays.stream(tokenizer.encode(d))).toArray();

    Calibration calibration =
        Calibration.builder()
            .setDocuments(documents)
            .optTokenizer(tokenizer)
            .optLength(expected.length)
            .build();

    assertThat(calibration.sequences()).isEqualTo(TokenSequences.of(new long[][] {expected}));
  }

  @Test
  void textMayBeGivenAsAString() throws IOException {
    Calibration calibration =
        Calibration.builder()
            .setText(Files.readString(PROSE))
            .optTokenizer(tokenizer)
            .optSequences(12)
            .optLength(256)
            .build();

    assertThat(calibration.digest())
        .isEqualTo(Calibration.ofText(tokenizer, PROSE, 12, 256).digest());
  }

  @Test
  void textShorterThanASequenceIsRejectedWithBothNumbersAndTheCure() {
    int tokens = tokenizer.encode("a short text").length;

    assertInvalid(
            () ->
                Calibration.builder()
                    .setText("a short text")
                    .optTokenizer(tokenizer)
                    .optLength(256)
                    .build())
        .hasMessageContaining("has " + tokens + " tokens")
        .hasMessageContaining("one sequence of 256")
        .hasMessageContaining("shorter length (--length) or more text");
  }

  @Test
  void emptyTextIsRejected() throws IOException {
    Path empty = write("empty.txt", "");
    Path blank = write("blank.jsonl", "\n  \n");

    assertInvalid(() -> ofFile(empty).build())
        .hasMessageContaining(empty.toString())
        .hasMessageContaining("is empty");
    assertInvalid(() -> ofFile(blank).build()).hasMessageContaining("is empty");
    assertInvalid(() -> Calibration.builder().setText("").optTokenizer(tokenizer).build())
        .hasMessageContaining("The text is empty");
    assertInvalid(
            () -> Calibration.builder().setDocuments(List.of()).optTokenizer(tokenizer).build())
        .hasMessageContaining("list of documents is empty");
  }

  @Test
  void textWithoutATokenizerIsRejected() {
    assertInvalid(() -> Calibration.builder().setSource(PROSE).build())
        .hasMessageContaining("optTokenizer")
        .hasMessageContaining("tensor input_ids");
  }

  // Token ids

  @Test
  void givenTokensAreUsedAsTheyAre() {
    long[][] ids = {{5, 6}, {1, 2}, {3, 4}};

    Calibration calibration = Calibration.ofTokens(ids);

    assertThat(calibration.sequences()).isEqualTo(TokenSequences.of(ids));
    assertThat(calibration.seed()).isZero();
    assertThat(calibration.description()).isEqualTo("3 sequences of 2 tokens, as given");
  }

  @Test
  void givenTokensMustBeSequences() {
    assertInvalid(() -> Calibration.ofTokens(new long[0][])).hasMessageContaining("no sequences");
  }

  @Test
  void theReferencesCodeTokensAreEvery29thBlockOfTheText() throws IOException {
    assertReference("code", 29);
  }

  @Test
  void theReferencesProseTokensAreEvery11thBlockOfTheText() throws IOException {
    assertReference("prose", 11);
  }

  private static void assertReference(String domain, int stride) throws IOException {
    long[] ids = tokenizer.encode(Files.readString(TEXTS.resolve(domain + ".calib.txt")));
    Path reference = Path.of("src", "test", "resources", "tiny-mixtral", "naee_tokens.safetensors");

    Calibration calibration =
        Calibration.builder()
            .setSource(reference)
            .optTensor("calib." + domain)
            .optSequences(16)
            .build();

    assertThat(calibration.sequences().count()).isEqualTo(16);
    assertThat(calibration.sequences().length()).isEqualTo(256);
    for (int i = 0; i < 16; i++) {
      int start = i * stride * 256;
      assertThat(calibration.sequences().sequence(i))
          .as("sequence %d of %s", i, domain)
          .isEqualTo(Arrays.copyOfRange(ids, start, start + 256));
    }
  }

  // Checks against the model and of the options

  @Test
  void tokensWithinTheVocabularyAndThePositionsFit() {
    Calibration calibration = Calibration.ofTokens(new long[][] {{0, 1}, {2, 1023}});

    assertThatCode(() -> calibration.checkFits(1024, 2)).doesNotThrowAnyException();
  }

  @Test
  void anIdOutsideTheVocabularyIsReportedWithItsPlace() {
    Calibration calibration = Calibration.ofTokens(new long[][] {{0, 1}, {2, 1024}, {2000, 0}});

    assertInvalid(() -> calibration.checkFits(1024, 2))
        .hasMessageContaining("Token id 1024 in sequence 1 at position 1")
        .hasMessageContaining("vocabulary of 1024")
        .hasMessageContaining("Was it made with another model's tokenizer?");
  }

  @Test
  void sequencesLongerThanThePositionsDoNotFit() {
    Calibration calibration = Calibration.ofTokens(new long[][] {{0, 1, 2}});

    assertInvalid(() -> calibration.checkFits(1024, 2))
        .hasMessageContaining("3 tokens")
        .hasMessageContaining("2 positions");
  }

  @Test
  void aLengthBeyondThePositionsIsRejected() {
    assertInvalid(() -> ofProse().optLength(513).optMaxPositions(512).build())
        .hasMessageContaining("513 tokens")
        .hasMessageContaining("512 positions");
  }

  @Test
  void numbersBelowOneAreRejected() {
    assertInvalid(() -> ofProse().optSequences(0).build())
        .hasMessageContaining("number of sequences must be at least 1, not 0");
    assertInvalid(() -> ofProse().optLength(-1).build())
        .hasMessageContaining("length must be at least 1, not -1");
    assertInvalid(() -> ofProse().optMaxPositions(0).build())
        .hasMessageContaining("positions must be at least 1, not 0");
  }

  @Test
  void exactlyOneSourceIsNeeded() {
    assertInvalid(() -> Calibration.builder().build()).hasMessageContaining("called were none");
    assertInvalid(() -> ofProse().setText("a").build())
        .hasMessageContaining("setSource and setText");
    assertInvalid(() -> Calibration.builder().setText("a").setDocuments(List.of("a", "b")).build())
        .hasMessageContaining("setText and setDocuments");
  }

  private static Calibration.Builder ofProse() {
    return ofFile(PROSE);
  }

  private static Calibration.Builder ofFile(Path file) {
    return Calibration.builder().setSource(file).optTokenizer(tokenizer);
  }

  private Path write(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }

  private static int[] range(int count) {
    return IntStream.range(0, count).toArray();
  }

  private static TokenSequences proseBlocks(int length, int[] numbers) {
    return TokenSequences.of(
        Arrays.stream(numbers)
            .mapToObj(i -> Arrays.copyOfRange(prose, i * length, (i + 1) * length))
            .toArray(long[][]::new));
  }
}
