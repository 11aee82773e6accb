package io.winnow.core.generate;

import static io.winnow.core.LoadedModels.load;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Model;
import ai.djl.modality.nlp.generate.CausalLMOutput;
import ai.djl.modality.nlp.generate.SearchConfig;
import ai.djl.modality.nlp.generate.TextGenerator;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Blocks;
import ai.djl.translate.TranslateException;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** DJL's own text generator on our models. */
class CausalLanguageModelPredictorTest {
  private static final int NEW_TOKENS = 48;

  private static Model model;

  @BeforeAll
  static void open() {
    model = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, true);
  }

  @AfterAll
  static void close() {
    model.close();
  }

  private static TokenSequences prompts() {
    return Fixtures.tokens(Fixtures.TINY_MIXTRAL_GOLDEN, "input_ids");
  }

  private static SearchConfig config(int promptLength) {
    SearchConfig config = new SearchConfig();
    config.setMaxSeqLength(promptLength + NEW_TOKENS);
    config.setPadTokenId(0);
    return config;
  }

  /** Returns all rows, prompts included. */
  private static long[][] search(Model searched, String name, SearchConfig config, long[]... rows)
      throws TranslateException {
    try (CausalLanguageModelPredictor predictor = CausalLanguageModelPredictor.of(searched);
        NDManager manager = searched.getNDManager().newSubManager()) {
      NDArray ids = manager.create(rows);
      NDArray result = new TextGenerator(predictor, name, config).generate(ids);
      int length = (int) result.getShape().get(1);
      long[] flat = result.toLongArray();
      long[][] found = new long[flat.length / length][];
      for (int i = 0; i < found.length; i++) {
        found[i] = Arrays.copyOfRange(flat, i * length, (i + 1) * length);
      }
      return found;
    }
  }

  private static long[] tail(long[] row, int from) {
    return Arrays.copyOfRange(row, from, row.length);
  }

  private static void assertGreedyIsGolden(Path checkpoint, String name, boolean fused)
      throws TranslateException {
    TokenSequences prompts = prompts();
    long[] golden =
        SafetensorsFile.open(Fixtures.TINY_MIXTRAL_GOLDEN).readLongs(name + ".generated");
    long[][] rows = new long[prompts.count()][];
    Arrays.setAll(rows, prompts::sequence);
    try (Model checked = load(checkpoint, DataType.FLOAT32, fused)) {
      long[][] found = search(checked, "greedy", config(prompts.length()), rows);
      for (int i = 0; i < rows.length; i++) {
        assertThat(tail(found[i], prompts.length()))
            .isEqualTo(Arrays.copyOfRange(golden, i * NEW_TOKENS, (i + 1) * NEW_TOKENS));
      }
    }
  }

  @Test
  void greedySearchEqualsTransformersForTheWholeModel() throws Exception {
    assertGreedyIsGolden(Fixtures.TINY_MIXTRAL, "full", true);
    assertGreedyIsGolden(Fixtures.TINY_MIXTRAL, "full", false);
  }

  @Test
  void greedySearchEqualsTransformersForThePrunedModel() throws Exception {
    assertGreedyIsGolden(Fixtures.TINY_MIXTRAL_R4, "naee_code_r4", true);
  }

  @Test
  void greedySearchOfLeftPaddedPromptsEqualsOurs() throws Exception {
    long[] longer = prompts().sequence(0);
    long[] shorter = Arrays.copyOf(prompts().sequence(1), longer.length - 9);
    long[] padded = new long[longer.length];
    System.arraycopy(shorter, 0, padded, 9, shorter.length);

    long[][] found = search(model, "greedy", config(longer.length), longer, padded);

    Generator ours = Generator.of(model).withEndTokens(Set.of());
    assertThat(tail(found[0], longer.length)).isEqualTo(ours.generate(longer, NEW_TOKENS));
    assertThat(tail(found[1], longer.length)).isEqualTo(ours.generate(shorter, NEW_TOKENS));
  }

  @Test
  void greedySearchInBfloat16EqualsOurs() throws Exception {
    long[] prompt = prompts().sequence(0);
    try (Model narrow = load(Fixtures.TINY_MIXTRAL, DataType.BFLOAT16, true)) {
      assertThat(tail(search(narrow, "greedy", config(prompt.length), prompt)[0], prompt.length))
          .isEqualTo(Generator.of(narrow).withEndTokens(Set.of()).generate(prompt, NEW_TOKENS));
    }
  }

  @Test
  void beamSearchOfWidthOneIsGreedy() throws Exception {
    long[] prompt = prompts().sequence(0);
    SearchConfig config = config(prompt.length);
    config.setBeam(1);
    assertThat(search(model, "beam", config, prompt))
        .isEqualTo(search(model, "greedy", config, prompt));
  }

  @Test
  void beamSearchOfWidthThreeFindsNothingLessLikelyThanGreedy() throws Exception {
    for (int i = 0; i < prompts().count(); i++) {
      long[] prompt = prompts().sequence(i);
      SearchConfig config = config(prompt.length);
      config.setBeam(3);
      long[][] beams = search(model, "beam", config, prompt);
      assertThat(beams).hasNumberOfRows(3);
      double greedy = logProbability(search(model, "greedy", config, prompt)[0], prompt.length);
      double best =
          Arrays.stream(beams)
              .mapToDouble(beam -> logProbability(beam, prompt.length))
              .max()
              .orElseThrow();
      assertThat(best).as("prompt %d", i).isGreaterThanOrEqualTo(greedy - 1e-4);
    }
  }

  private static double logProbability(long[] tokens, int from) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(tokens, new Shape(1, tokens.length));
      float[] logProbabilities =
          ((MoeDecoder) model.getBlock())
              .step(ids, new NDList(), 0)
              .head()
              .logSoftmax(-1)
              .toFloatArray();
      double sum = 0;
      for (int i = from; i < tokens.length; i++) {
        sum += logProbabilities[(i - 1) * 1024 + (int) tokens[i]];
      }
      return sum;
    }
  }

  @Test
  void contrastiveSearchIsDeterministicAndWithoutPenaltyGreedy() throws Exception {
    long[] prompt = prompts().sequence(0);
    SearchConfig config = config(prompt.length);
    long[][] found = search(model, "contrastive", config, prompt);
    assertThat(found[0]).hasSize(prompt.length + NEW_TOKENS).startsWith(prompt);
    assertThat(search(model, "contrastive", config, prompt)).isEqualTo(found);

    config.setAlpha(0);
    assertThat(search(model, "contrastive", config, prompt))
        .isEqualTo(search(model, "greedy", config, prompt));
  }

  @Test
  void stepsThroughThePastGiveWhatOnePassGives() throws Exception {
    long[] prompt = prompts().sequence(0);
    int half = prompt.length / 2;
    try (CausalLanguageModelPredictor predictor = CausalLanguageModelPredictor.of(model);
        NDManager manager = model.getNDManager().newSubManager()) {
      CausalLMOutput whole = predictor.predict(input(manager, prompt, 0));
      CausalLMOutput first = predictor.predict(input(manager, Arrays.copyOf(prompt, half), 0));
      NDList second = input(manager, tail(prompt, half), half);
      second.addAll(first.getPastKeyValuesList());
      float[] before = first.getPastKeyValuesList().head().toFloatArray();
      CausalLMOutput rest = predictor.predict(second);

      assertThat(first.getPastKeyValuesList().head().toFloatArray())
          .as("the input is only read")
          .isEqualTo(before);
      assertThat(rest.getLogits().getShape()).isEqualTo(new Shape(1, prompt.length - half, 1024));
      assertClose(rest.getLogits(), whole.getLogits().get(":, {}:", half));
      assertClose(rest.getHiddenState(), whole.getHiddenState().get(":, {}:", half));
      assertThat(rest.getPastKeyValuesList()).hasSize(8);
      for (int i = 0; i < 8; i++) {
        assertClose(rest.getPastKeyValuesList().get(i), whole.getPastKeyValuesList().get(i));
      }
      assertThat(rest.getHiddenState().getManager()).isSameAs(manager);
    }
  }

  private static void assertClose(NDArray actual, NDArray expected) {
    assertThat(actual.getShape()).isEqualTo(expected.getShape());
    assertThat(actual.sub(expected).abs().max().getFloat()).isCloseTo(0, within(1e-4f));
  }

  @Test
  void nothingIsLeftInTheModelsMemory() throws Exception {
    long[] prompt = prompts().sequence(0);
    int before = model.getNDManager().getManagedArrays().size();
    search(model, "beam", config(prompt.length), prompt);
    assertThat(model.getNDManager().getManagedArrays()).hasSize(before);
  }

  /** Ids, positions and mask behind {@code past} tokens. */
  private static NDList input(NDManager manager, long[] ids, int past) {
    return new NDList(
        manager.create(ids, new Shape(1, ids.length)),
        manager.arange(past, past + ids.length, 1, DataType.INT64).expandDims(0),
        manager.ones(new Shape(1, past + ids.length), DataType.INT64));
  }

  @Test
  void inputThatDoesNotFitIsRefused() {
    try (CausalLanguageModelPredictor predictor = CausalLanguageModelPredictor.of(model);
        NDManager manager = model.getNDManager().newSubManager()) {
      long[] ids = {1, 2, 3};
      assertRefused(predictor, new NDList(input(manager, ids, 0).subList(0, 2)), "got 2 arrays");

      NDList suffixPadded = input(manager, ids, 0);
      suffixPadded.set(2, manager.create(new long[] {1, 1, 0}, new Shape(1, 3)));
      assertRefused(predictor, suffixPadded, "only padding on the left");

      NDList nothing = input(manager, ids, 0);
      nothing.set(2, manager.create(new long[] {0, 0, 0}, new Shape(1, 3)));
      assertRefused(predictor, nothing, "at least one token");

      assertRefused(predictor, input(manager, ids, 2), "need position ids [1, 3]");

      NDList shifted = input(manager, ids, 0);
      shifted.set(1, manager.create(new long[] {0, 1, 5}, new Shape(1, 3)));
      assertRefused(predictor, shifted, "Token 2 of sequence 0 has position id 5");

      NDList wrongPast = input(manager, ids, 2);
      wrongPast.add(manager.zeros(new Shape(1, 2, 2, 2)));
      assertRefused(predictor, wrongPast, "Past keys and values must be 8");

      NDList flatPast = input(manager, ids, 0);
      flatPast.add(manager.zeros(new Shape(4)));
      assertRefused(predictor, flatPast, "Past keys and values must be 8");
    }
  }

  private static void assertRefused(
      CausalLanguageModelPredictor predictor, NDList input, String message) {
    assertThatThrownBy(() -> predictor.predict(input))
        .isInstanceOf(TranslateException.class)
        .cause()
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
  }

  @Test
  void otherModelsAreRefused() {
    try (Model foreign = Model.newInstance("foreign", "PyTorch")) {
      foreign.setBlock(Blocks.identityBlock());
      assertThatThrownBy(() -> CausalLanguageModelPredictor.of(foreign))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("'foreign'");
    }
  }
}
