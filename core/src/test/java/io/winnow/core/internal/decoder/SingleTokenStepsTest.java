package io.winnow.core.internal.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.ExpertMerge;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.ResidentMemory;
import io.winnow.core.RouterHook;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.model.MoeModels;
import io.winnow.core.train.FineTuning;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Set;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The steps of one token that run in Java, beside the same steps in TorchScript. */
class SingleTokenStepsTest {
  private static final long[] TOKENS = Fixtures.naeeTokens("valid.code").sequence(0);

  @TempDir private Path folder;

  private static Model load(Path checkpoint, DataType type, boolean javaSteps) {
    Model model =
        MoeModels.loader(checkpoint)
            .optDevice(Device.cpu())
            .optDataType(type)
            .optJavaStepsUpTo(javaSteps ? MoeModels.Loader.JAVA_STEPS_UP_TO : 0)
            .load();
    assertThat(decoder(model).singleTokenKernel() != null).isEqualTo(javaSteps);
    return model;
  }

  private static MoeDecoder decoder(Model model) {
    return (MoeDecoder) model.getBlock();
  }

  private static float[] next(Model model, KeyValueCache cache, int from, int to) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      long[] tokens = Arrays.copyOfRange(TOKENS, from, to);
      return decoder(model)
          .next(manager.create(tokens, new Shape(1, tokens.length)), cache)
          .toFloatArray();
    }
  }

  /** The logits of some tokens that follow one another in steps. */
  private static float[] steps(Model model, int prompt, int until) {
    try (KeyValueCache cache = decoder(model).newCache(0)) {
      float[] logits = next(model, cache, 0, prompt);
      for (int i = prompt; i < until; i++) {
        logits = next(model, cache, i, i + 1);
      }
      return logits;
    }
  }

  private static float[] whole(Model model, int until) {
    try (KeyValueCache cache = decoder(model).newCache(0)) {
      return next(model, cache, 0, until);
    }
  }

  /** Checks that both models compute the same. */
  private static void assertSame(Model java, Model torch) {
    assertThat(steps(java, 3, 12)).containsExactly(steps(torch, 3, 12), within(1e-4f));
  }

  @Test
  void theCacheIsThatOfOtherPassesAlsoWhenItGrows() {
    try (Model model = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, true);
        KeyValueCache cache = decoder(model).newCache(0)) {
      next(model, cache, 0, 5);
      next(model, cache, 5, 6);
      next(model, cache, 6, 7);
      next(model, cache, 7, 250);
      for (int i = 250; i < 255; i++) {
        next(model, cache, i, i + 1);
      }
      assertThat(next(model, cache, 255, 256)).containsExactly(whole(model, 256), within(1e-4f));
      // The sequence twice, so that it leaves its arrays, and one of them again.
      try (KeyValueCache both = decoder(model).expand(cache, new int[] {0, 0}, 3);
          KeyValueCache one = decoder(model).expand(both, new int[] {1}, 2)) {
        float[] continued = next(model, cache, 3, 4);
        assertThat(next(model, one, 3, 4)).containsExactly(continued, within(1e-4f));
      }
    }
  }

  @Test
  void theHostSaysHowLargeAModelMayBe() {
    MoeModels.Loader loader = MoeModels.loader(Fixtures.TINY_MIXTRAL).optDevice(Device.cpu());
    // 3.6 million elements.
    try (Model below = loader.optJavaStepsUpTo(3_700_000).load();
        Model above = loader.optJavaStepsUpTo(3_600_000).load()) {
      assertThat(decoder(below).singleTokenKernel()).isNotNull();
      assertThat(decoder(above).singleTokenKernel()).isNull();
    }
    assertThatThrownBy(() -> loader.optJavaStepsUpTo(-1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("is -1; use 0 for never");
  }

  @Test
  void aPromptOfAnyLengthIsTheSameInSteps() {
    try (Model model = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, true)) {
      float[] expected = steps(model, 1, 200);
      for (int prompt : new int[] {64, 65, 130, 200}) {
        assertThat(steps(model, prompt, 200)).containsExactly(expected, within(1e-4f));
      }
    }
  }

  @Test
  void aTextGoesOnInRoomAddedToTheCache() {
    long[] prompt = Arrays.copyOf(TOKENS, 250);
    try (Model java = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, true);
        Model torch = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, false)) {
      assertThat(generated(java, prompt)).isEqualTo(generated(torch, prompt));
    }
  }

  @Test
  void bfloat16IsAtLeastAsCloseToFloat32AsTorchScript() {
    try (Model wide = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, false);
        Model java = load(Fixtures.TINY_MIXTRAL, DataType.BFLOAT16, true);
        Model torch = load(Fixtures.TINY_MIXTRAL, DataType.BFLOAT16, false)) {
      float[] expected = steps(wide, 2, 40);
      assertThat(distance(steps(java, 2, 40), expected))
          .isLessThan(distance(steps(torch, 2, 40), expected))
          .isPositive();
    }
  }

  private static double distance(float[] actual, float[] expected) {
    double squares = 0;
    for (int i = 0; i < expected.length; i++) {
      squares += Math.pow(actual[i] - expected[i], 2);
    }
    return Math.sqrt(squares);
  }

  @Test
  void aWindowOfAttentionHidesWhatIsOutsideOfIt() throws Exception {
    Path whole = new RandomCheckpoint().write(folder.resolve("whole"));
    Path window = new RandomCheckpoint().set("sliding_window", 4).write(folder.resolve("window"));
    try (Model java = load(window, DataType.FLOAT32, true);
        Model torch = load(window, DataType.FLOAT32, false);
        Model without = load(whole, DataType.FLOAT32, true)) {
      float[] logits = small(java);
      assertThat(logits).containsExactly(small(torch), within(1e-4f));
      assertThat(distance(logits, small(without))).isGreaterThan(1e-2);
    }
  }

  @Test
  void sharedExpertsBehindTheirGateAreAdded() throws Exception {
    // Without the biases of its queries, keys and values it is of Mixtral's form.
    Path checkpoint = folder.resolve("shared");
    Files.createDirectories(checkpoint);
    Path golden = Fixtures.golden("qwen2_moe");
    Files.copy(golden.resolve("model.safetensors"), checkpoint.resolve("model.safetensors"));
    JsonObject config =
        JsonParser.parseString(Files.readString(golden.resolve("config.json"))).getAsJsonObject();
    config.addProperty("qkv_bias", false);
    Files.writeString(checkpoint.resolve("config.json"), config.toString());
    try (Model java = load(checkpoint, DataType.FLOAT32, true);
        Model torch = load(checkpoint, DataType.FLOAT32, false)) {
      assertThat(small(java)).containsExactly(small(torch), within(1e-4f));
    }
  }

  /** Logits behind ten steps of a small vocabulary. */
  private static float[] small(Model model) {
    try (KeyValueCache cache = decoder(model).newCache(0);
        NDManager manager = model.getNDManager().newSubManager()) {
      float[] logits = {};
      for (long token = 1; token <= 10; token++) {
        logits =
            decoder(model)
                .next(manager.create(new long[] {token}, new Shape(1, 1)), cache)
                .toFloatArray();
      }
      return logits;
    }
  }

  private static long[] generated(Model model, long... prompt) {
    return Generator.of(model)
        .withEndTokens(Set.of())
        .generate(prompt, GenerationConfig.greedy(20))
        .tokenIds();
  }

  @Test
  void hooksDecideAsInOtherPasses() {
    RouterHook swapped =
        (layer, logits, decision) ->
            RoutingDecision.of(
                2,
                new int[] {decision.expert(0, 1), RoutingDecision.NONE},
                new float[] {decision.weight(0, 0), 0});
    RouterHook single =
        (layer, logits, decision) ->
            decision.tokens() == 1 ? swapped.onRouting(layer, logits, decision) : decision;
    try (Model java = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, true);
        Model torch = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, false)) {
      float[] without = steps(java, 3, 12);
      decoder(java).routerHooks().set(single);
      decoder(torch).routerHooks().set(single);
      assertSame(java, torch);
      assertThat(steps(java, 3, 12)).isNotEqualTo(without);
    }
  }

  @Test
  void whatAFailedStepLeftInTheCacheIsReplaced() {
    try (Model model = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, true);
        KeyValueCache cache = decoder(model).newCache(0)) {
      next(model, cache, 0, 3);
      next(model, cache, 3, 4);
      decoder(model)
          .routerHooks()
          .set(
              (layer, logits, decision) -> {
                if (layer.layerIndex() == 2) {
                  throw new IllegalStateException("a host's defect");
                }
                return decision;
              });
      assertThatThrownBy(() -> next(model, cache, 9, 10)).hasMessage("a host's defect");
      decoder(model).routerHooks().set(null);
      next(model, cache, 4, 6);
      next(model, cache, 6, 7);
      assertThat(next(model, cache, 7, 8)).containsExactly(whole(model, 8), within(1e-4f));
    }
  }

  @ParameterizedTest(name = "in Java = {0}")
  @ValueSource(booleans = {true, false})
  @EnabledOnOs(OS.LINUX)
  void generatingManyTimesLeavesNothingBehind(boolean javaSteps) throws Exception {
    long[] prompt = Arrays.copyOf(TOKENS, 230); // So that the cache grows, too.
    GenerationConfig config = GenerationConfig.greedy(60);
    try (Model model = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, javaSteps)) {
      Generator generator = Generator.of(model).withEndTokens(Set.of());
      // The logits alone of the runs between have 38 MB.
      ResidentMemory.assertFlat(
          "generate", 200, 24L << 20, () -> generator.generate(prompt, config));
    }
  }

  /** What may change about a model after its weights were copied. */
  enum Change {
    PRUNING(model -> decoder(model).moeLayers().forEach(layer -> layer.retain(1, 3, 4, 6))),
    MERGE(model -> merge(model, 1)),
    ANOTHER_MERGE_INTO_THE_SAME_MEMORY(
        model -> {
          merge(model, 1);
          steps(model, 3, 12);
          merge(model, 2);
        }),
    UNDONE_MERGE(
        model -> {
          merge(model, 1);
          steps(model, 3, 12);
          decoder(model).moeLayers().forEach(MergeableMoeLayer::undoMerge);
        }),
    TRAINING(
        model -> {
          TokenSequences text = TokenSequences.of(new long[][] {TOKENS, TOKENS});
          FineTuning.builder().optSteps(1).build().run(model, text, text);
        });

    private final Consumer<Model> change;

    Change(Consumer<Model> change) {
      this.change = change;
    }

    private static void merge(Model model, double factor) {
      double[][] router = new double[4][8];
      double[][] experts = new double[4][8];
      for (int row = 0; row < 4; row++) {
        router[row][row] = 1;
        experts[row][row] = 0.5;
        experts[row][row + 4] = 0.1 * factor;
      }
      ExpertMerge merge = ExpertMerge.of(router, experts);
      decoder(model).moeLayers().forEach(layer -> layer.applyMerge(merge, 2));
    }
  }

  @ParameterizedTest
  @EnumSource
  void whatChangesBetweenStepsIsSeen(Change change) {
    try (Model java = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, true);
        Model torch = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32, false)) {
      assertSame(java, torch);
      change.change.accept(java);
      change.change.accept(torch);
      assertSame(java, torch);
    }
  }
}
