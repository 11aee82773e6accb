package io.winnow.core.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import java.io.IOException;
import java.io.RandomAccessFile;
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
import java.util.stream.IntStream;
import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CalibrationTest {
  private static final Path MODEL = Path.of("..", "examples", "demo", "tiny-mixtral");
  private static final Path TEXTS = Path.of("..", "examples", "demo", "text");
  private static final Path PROSE = TEXTS.resolve("prose.calib.txt");
  private static final int PROSE_BLOCKS_OF_256 = 45379 / 256;

  private static final long[][] ROWS = {
    {10, 11, 12}, {20, 21, 22}, {30, 31, 32}, {40, 41, 42}, {50, 51, 52}
  };

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
  void aByteOrderMarkIsNotText() throws IOException {
    Path marked = write("marked.txt", "\uFEFFa loop");

    assertThat(ofFile(marked).optLength(1).build().sequences().flatten(0, 1))
        .containsExactly(tokenizer.encode("a loop")[0]);
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

  private static AbstractThrowableAssert<?, ? extends Throwable> assertInvalid(
      ThrowingCallable call) {
    return assertThatThrownBy(call).isInstanceOf(InvalidInputException.class);
  }
}
