package io.winnow.core.generate;

import static io.winnow.core.Refusal.refused;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.Fixtures;
import io.winnow.core.GarbageCollection;
import io.winnow.core.MoeModel;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.Generation.FinishReason;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Generation with the trained model, in float32. */
class GeneratorTest {
  private static Model model;
  private static TextTokenizer tokenizer;
  private static Generator generator;

  @TempDir Path folder;

  @BeforeAll
  static void open() {
    model = load(Fixtures.TINY_MIXTRAL);
    tokenizer = TextTokenizer.open(Fixtures.TINY_MIXTRAL);
    generator = Generator.of(model).withTokenizer(tokenizer);
  }

  @AfterAll
  static void close() {
    tokenizer.close();
    model.close();
  }

  private static Model load(Path checkpoint) {
    return MoeModels.loader(checkpoint)
        .optDevice(Device.cpu())
        .optDataType(DataType.FLOAT32)
        .load();
  }

  private static List<long[]> unequalPrompts() {
    long[] code = Fixtures.naeeTokens("valid.code").sequence(0);
    long[] prose = Fixtures.naeeTokens("valid.prose").sequence(0);
    return List.of(
        Arrays.copyOf(code, 40),
        Arrays.copyOf(prose, 7),
        Arrays.copyOf(code, 1),
        Arrays.copyOf(prose, 64));
  }

  private static GenerationConfig.Builder unending(int tokens) {
    return GenerationConfig.builder(tokens).optEndTokens(Set.of());
  }

  private static void assertGolden(Model checked, String name) {
    TokenSequences prompts = Fixtures.tokens(Fixtures.TINY_MIXTRAL_GOLDEN, "input_ids");
    long[] golden =
        SafetensorsFile.open(Fixtures.TINY_MIXTRAL_GOLDEN).readLongs(name + ".generated");
    List<long[]> all = IntStream.range(0, prompts.count()).mapToObj(prompts::sequence).toList();
    List<Generation> batch = Generator.of(checked).generate(all, unending(48).build());
    for (int i = 0; i < prompts.count(); i++) {
      long[] expected = Arrays.copyOfRange(golden, i * 48, (i + 1) * 48);
      assertThat(batch.get(i).tokenIds()).as("batched").isEqualTo(expected);
      assertThat(batch.get(i).finishReason()).isEqualTo(FinishReason.LENGTH);
      assertThat(Generator.of(checked).withEndTokens(Set.of()).generate(prompts.sequence(i), 48))
          .as("alone")
          .isEqualTo(expected);
    }
  }

  @Test
  void greedyEqualsTransformersAloneAndBatchedForTheWholeModel() {
    assertGolden(model, "full");
  }

  @Test
  void greedyEqualsTransformersAloneAndBatchedForThePrunedModel() {
    try (Model pruned = load(Fixtures.TINY_MIXTRAL_R4)) {
      assertGolden(pruned, "naee_code_r4");
    }
  }

  @Test
  void unequalPromptsTogetherGetWhatTheyGetOneByOne() {
    for (GenerationConfig config :
        List.of(
            GenerationConfig.greedy(60),
            unending(40).optRepetitionPenalty(1.3).build(),
            unending(30).optStopStrings("e", "\n").build())) {
      List<Generation> together = generator.generate(unequalPrompts(), config);
      for (int i = 0; i < together.size(); i++) {
        assertThat(together.get(i))
            .as("prompt %d with %s", i, config)
            .isEqualTo(generator.generate(unequalPrompts().get(i), config));
      }
    }
  }

  @Test
  void paddingAndEndedSequencesTakeNoExperts() {
    GenerationConfig config = unending(40).optStopStrings("e", "\n").build();
    AtomicLong pairs = new AtomicLong();
    MoeModel.of(model)
        .routerHooks()
        .set(
            (layer, logits, decision) -> {
              pairs.addAndGet(Arrays.stream(decision.counts(layer.numExperts())).sum());
              return decision;
            });
    try {
      generator.generate(unequalPrompts(), config);
      long together = pairs.getAndSet(0);
      for (long[] prompt : unequalPrompts()) {
        generator.generate(prompt, config);
      }
      assertThat(together).isEqualTo(pairs.get());
    } finally {
      MoeModel.of(model).routerHooks().set(null);
    }
  }

  @Test
  void aSequenceOfABatchDrawsAsOneAloneWithItsOwnSeed() {
    List<Generation> together =
        generator.generate(
            unequalPrompts(), unending(30).optTemperature(1).optTopP(0.95).optSeed(5).build());
    for (int i = 0; i < together.size(); i++) {
      GenerationConfig alone = unending(30).optTemperature(1).optTopP(0.95).optSeed(5 + i).build();
      assertThat(generator.generate(unequalPrompts().get(i), alone)).isEqualTo(together.get(i));
    }
  }

  @Test
  void drawingIsReproducibleFromItsSeedAndDiffersWithAnother() {
    long[] prompt = unequalPrompts().get(0);
    GenerationConfig config = unending(30).optTemperature(1.2).optSeed(11).build();
    Generation first = generator.generate(prompt, config);
    assertThat(generator.generate(prompt, config)).isEqualTo(first);
    assertThat(generator.generate(prompt, unending(30).optTemperature(1.2).optSeed(12).build()))
        .isNotEqualTo(first);
  }

  @Test
  void topKOfOneIsGreedy() {
    long[] prompt = unequalPrompts().get(0);
    assertThat(
            generator.generate(prompt, unending(30).optTemperature(1).optTopK(1).build()).tokens())
        .isEqualTo(generator.generate(prompt, unending(30).build()).tokens());
  }

  @Test
  void thePenaltyHoldsForThePromptAndTheNewTokens() {
    Generation generation =
        generator.generate(unequalPrompts().get(1), unending(40).optRepetitionPenalty(1e6).build());
    List<Long> prompt = Arrays.stream(unequalPrompts().get(1)).boxed().toList();
    assertThat(generation.tokens()).doesNotHaveDuplicates().doesNotContainAnyElementsOf(prompt);
  }

  @Test
  void stopsAtEachOfSeveralEndTokensWithoutItsText() {
    long[] prompt = unequalPrompts().get(3);
    List<Long> free = generator.generate(prompt, unending(40).build()).tokens();
    for (long end : Set.copyOf(free)) {
      int at = free.indexOf(end);
      Generation generation =
          generator.generate(
              prompt, GenerationConfig.builder(40).optEndTokens(Set.of(end, 1_000_000L)).build());
      assertThat(generation.tokens()).isEqualTo(free.subList(0, at + 1));
      assertThat(generation.finishReason()).isEqualTo(FinishReason.END_TOKEN);
      assertThat(generation.text())
          .hasValue(tokenizer.decode(free.stream().limit(at).mapToLong(id -> id).toArray()));
    }
  }

  @Test
  void stopsAtAStopStringThatSpansTokensAndShowsNothingOfIt() {
    long[] prompt = unequalPrompts().get(0);
    Generation free = generator.generate(prompt, unending(40).build());
    String text = free.text().orElseThrow();
    int middle = text.length() / 2;
    String stop = text.substring(middle - 4, middle + 4);
    List<String> pieces = new ArrayList<>();

    Generation generation =
        generator.generate(
            prompt,
            unending(40).optStopStrings("\u0001", stop).build(),
            (sequence, token, piece) -> pieces.add(piece));

    assertThat(generation.finishReason()).isEqualTo(FinishReason.STOP_STRING);
    assertThat(generation.text()).hasValue(text.substring(0, text.indexOf(stop)));
    assertThat(String.join("", pieces)).isEqualTo(generation.text().orElseThrow());
    assertThat(free.tokens()).startsWith(generation.tokens().toArray(Long[]::new));
    assertThat(tokenizer.decode(generation.tokenIds())).contains(stop);
  }

  @Test
  void theListenerHearsOfEveryTokenAndAllOfTheText() {
    List<long[]> prompts = unequalPrompts();
    List<List<Long>> tokens = new ArrayList<>();
    List<StringBuilder> texts = new ArrayList<>();
    prompts.forEach(
        prompt -> {
          tokens.add(new ArrayList<>());
          texts.add(new StringBuilder());
        });

    // Hot enough for bytes that end inside characters, or are none.
    List<Generation> generations =
        generator.generate(
            prompts,
            unending(60).optTemperature(3).build(),
            (sequence, token, text) -> {
              tokens.get(sequence).add(token);
              texts.get(sequence).append(text);
              return true;
            });

    for (int i = 0; i < prompts.size(); i++) {
      Generation generation = generations.get(i);
      assertThat(generation.tokens()).isEqualTo(tokens.get(i)).hasSize(60);
      assertThat(generation.text()).hasValue(texts.get(i).toString());
      assertThat(generation.text()).hasValue(tokenizer.decode(generation.tokenIds()));
    }
  }

  @Test
  void aTextIsContinuedWithTheTokenizersPrompt() {
    String prompt = "def main(";
    Generation generation = generator.generate(prompt, GenerationConfig.greedy(12));
    assertThat(generation)
        .isEqualTo(
            generator.generate(
                tokenizer.encodeWithSpecialTokens(prompt), GenerationConfig.greedy(12)));
  }

  @Test
  void aListenerEndsItsSequenceAndTheOthersGoOn() {
    List<long[]> prompts = unequalPrompts();
    List<Generation> free = generator.generate(prompts, unending(20).build());
    AtomicInteger heard = new AtomicInteger();

    List<Generation> generations =
        generator.generate(
            prompts,
            unending(20).build(),
            (sequence, token, text) -> sequence != 1 || heard.incrementAndGet() < 3);

    assertThat(generations.get(1).finishReason()).isEqualTo(FinishReason.CANCELLED);
    assertThat(generations.get(1).tokens()).isEqualTo(free.get(1).tokens().subList(0, 3));
    assertThat(heard).hasValue(3);
    assertThat(generations.get(0)).isEqualTo(free.get(0));
    assertThat(generations.get(3)).isEqualTo(free.get(3));
  }

  @Test
  void anInterruptEndsTheGenerationAndStays() {
    AtomicInteger heard = new AtomicInteger();
    assertThatThrownBy(
            () ->
                generator.generate(
                    unequalPrompts(),
                    unending(20).build(),
                    (sequence, token, text) -> {
                      heard.incrementAndGet();
                      Thread.currentThread().interrupt();
                      return true;
                    }))
        .isInstanceOf(CancellationException.class);
    assertThat(Thread.interrupted()).isTrue();
    assertThat(heard).as("one token of each sequence").hasValue(4);
  }

  @Test
  void whatTheListenerThrowsReachesTheCaller() {
    assertThatThrownBy(
            () ->
                generator.generate(
                    unequalPrompts().get(0),
                    GenerationConfig.greedy(5),
                    (sequence, token, text) -> {
                      throw new ArithmeticException("mine");
                    }))
        .isInstanceOf(ArithmeticException.class)
        .hasMessage("mine");
  }

  @Test
  void everySequenceMayTakeAllPositionsWhateverItsNeighboursTook() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model small = load(checkpoint)) {
      Generator other = Generator.of(small);
      List<long[]> prompts = List.of(new long[64], new long[60], new long[] {3}, new long[] {4, 5});
      List<Generation> together = other.generate(prompts, unending(100).build());
      assertThat(together)
          .extracting(result -> result.tokens().size())
          .containsExactly(0, 4, 63, 62);
      assertThat(together).allMatch(result -> result.finishReason() == FinishReason.LENGTH);
      for (int i = 0; i < prompts.size(); i++) {
        assertThat(together.get(i))
            .isEqualTo(other.generate(prompts.get(i), unending(100).build()));
      }
    }
  }

  @Test
  void severalThreadsShareAGeneratorAndLeaveNothingInTheModelsMemory() throws Exception {
    GenerationConfig config = unending(20).optTemperature(1).optSeed(3).build();
    List<Generation> expected = generator.generate(unequalPrompts(), config);
    int before = model.getNDManager().getManagedArrays().size();
    ExecutorService executor = Executors.newFixedThreadPool(4);
    try {
      Callable<List<Generation>> call = () -> generator.generate(unequalPrompts(), config);
      for (Future<List<Generation>> future : executor.invokeAll(Collections.nCopies(8, call))) {
        assertThat(future.get()).isEqualTo(expected);
      }
    } finally {
      executor.shutdownNow();
    }
    assertThat(model.getNDManager().getManagedArrays()).hasSize(before);
  }

  @Test
  void whatAStepComputesWithStaysInMemoryUntilItIsDone() throws Exception {
    List<long[]> prompts = unequalPrompts();
    List<Generation> expected = generator.generate(prompts, unending(12).build());
    int[] sizes = IntStream.range(0, 1000).map(i -> 16 * (64 + i % 40)).toArray();
    // Of NaN.
    try (var collecting = GarbageCollection.start(sizes, (byte) -1, Duration.ZERO)) {
      assertThat(generator.generate(prompts, unending(12).build())).isEqualTo(expected);
    }
  }

  @Test
  void withoutATokenizerThereAreTokensAndNoText() {
    List<String> pieces = new ArrayList<>();
    Generation generation =
        Generator.of(model)
            .generate(
                unequalPrompts().get(0),
                unending(3).build(),
                (sequence, token, text) -> pieces.add(text));
    assertThat(generation.tokens()).hasSize(3);
    assertThat(generation.text()).isEmpty();
    assertThat(pieces).containsExactly("", "", "");
  }

  @Test
  void whatDoesNotFitIsRefusedByName() {
    GenerationConfig config = GenerationConfig.greedy(5);
    refused("no prompts", () -> generator.generate(List.<long[]>of(), config));
    refused("Prompt 1 has no", () -> generator.generate(List.of(new long[1], new long[0]), config));
    refused("100000 tokens, more than", () -> generator.generate(new long[100_000], config));
    refused(
        "Prompt 1 has token id 1024 at position 1",
        () -> generator.generate(List.of(new long[1], new long[] {5, 1024}), config));
    refused("token id -1", () -> generator.generate(new long[] {-1}, config));
    Generator blind = Generator.of(model);
    refused(
        "Stop strings need a tokenizer",
        () -> blind.generate(new long[1], GenerationConfig.builder(1).optStopStrings("x").build()));
    refused("needs a tokenizer", () -> blind.generate("text", config));
    try (Model foreign = Model.newInstance("foreign", "PyTorch")) {
      foreign.setBlock(ai.djl.nn.Blocks.identityBlock());
      refused("'foreign' was not loaded by MoeModels", () -> Generator.of(foreign));
    }
  }
}
