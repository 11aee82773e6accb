package io.winnow.core.internal.decoder;

import static io.winnow.core.LoadedModels.assertClose;
import static io.winnow.core.LoadedModels.ids;
import static io.winnow.core.LoadedModels.loader;
import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import io.winnow.core.Fixtures;
import io.winnow.core.LanguageModel;
import io.winnow.core.LoadedModels;
import io.winnow.core.LoadedModels.Recorder;
import io.winnow.core.LoadedModels.Seen;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The decoder against Hugging Face Transformers. */
class MixtralGoldenTest {
  /** Logits [sequences, length, vocabulary] and router logits per layer. */
  private record Outputs(float[] logits, Map<Integer, Seen> routers) {}

  /** Gives the trained model, whole and pruned, each by its name in the reference. */
  private static void withTrainedModels(boolean fused, BiConsumer<String, Model> test) {
    Map.of("full", Fixtures.TINY_MIXTRAL, "naee_code_r4", Fixtures.TINY_MIXTRAL_R4)
        .forEach(
            (name, folder) -> {
              try (Model model = loader(folder, fused).load()) {
                test.accept(name, model);
              }
            });
  }

  private static Outputs forward(Model model, TokenSequences sequences) {
    Map<Integer, Seen> seen = new HashMap<>();
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDArray logits = LanguageModel.of(model).logits(ids(manager, sequences), new Recorder(seen));
      return new Outputs(logits.toFloatArray(), seen);
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @ValueSource(booleans = {true, false})
  void logitsAndRouterLogitsOfRandomWeightsEqualTransformers(boolean fused) {
    Path folder = Fixtures.golden("mixtral");
    SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"));
    try (Model model = loader(folder, fused).load()) {
      Outputs outputs =
          forward(model, Fixtures.tokens(folder.resolve("golden.safetensors"), "input_ids"));
      assertClose(outputs.logits(), golden.readFloats("logits"), "what is computed");
      for (int layer = 0; layer < 3; layer++) {
        assertClose(
            outputs.routers().get(layer).logits(),
            golden.readFloats("router_logits." + layer),
            "what is computed");
      }
    }
  }

  @Test
  void expertsAndWeightsOfRandomWeightsEqualTransformers() {
    Path folder = Fixtures.golden("mixtral");
    SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"));
    Map<Integer, Seen> seen;
    try (Model model = loader(folder, true).load()) {
      seen =
          LoadedModels.routing(
              model, Fixtures.tokens(folder.resolve("golden.safetensors"), "input_ids"));
    }
    for (int layer = 0; layer < 3; layer++) {
      RoutingDecision decision = seen.get(layer).decision();
      long[] experts = golden.readLongs("topk_index." + layer);
      assertThat(Arrays.stream(decision.experts()).asLongStream().toArray()).isEqualTo(experts);
      assertClose(
          decision.weights(), golden.readFloats("topk_weight." + layer), "what is computed");
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @ValueSource(booleans = {true, false})
  void logitsOfTheTrainedModelEqualTransformersFullAndPruned(boolean fused) {
    SafetensorsFile golden = SafetensorsFile.open(Fixtures.TINY_MIXTRAL_GOLDEN);
    TokenSequences sequences = Fixtures.tokens(Fixtures.TINY_MIXTRAL_GOLDEN, "input_ids");
    withTrainedModels(
        fused,
        (name, model) -> {
          Outputs outputs = forward(model, sequences);
          assertClose(outputs.logits(), golden.readFloats(name + ".logits"), "what is computed");
          for (int layer = 0; layer < 4; layer++) {
            assertClose(
                outputs.routers().get(layer).logits(),
                golden.readFloats(name + ".router_logits." + layer),
                "what is computed");
          }
        });
  }

  @Test
  void randomWeightsPrunedWhileLoadingAndInPlaceEqualTransformers() throws Exception {
    Path folder = Fixtures.golden("mixtral");
    Map<Integer, List<Integer>> retained = LoadedModels.retained("mixtral");
    Path golden = folder.resolve("golden_pruned.safetensors");
    TokenSequences sequences = Fixtures.tokens(golden, "input_ids");
    float[] expected = SafetensorsFile.open(golden).readFloats("logits");
    try (Model model = loader(folder, true).optRetained(retained).load()) {
      assertClose(forward(model, sequences).logits(), expected, "what is computed");
    }
    for (boolean fused : new boolean[] {true, false}) {
      try (Model model = loader(folder, fused).load()) {
        for (MoeLayerView layer : ((MoeDecoder) model.getBlock()).moeLayers()) {
          layer.retain(
              retained.get(layer.layerIndex()).stream().mapToInt(Integer::intValue).toArray());
        }
        assertClose(forward(model, sequences).logits(), expected, "what is computed");
      }
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @ValueSource(booleans = {true, false})
  void greedyContinuationEqualsTransformersWithAndWithoutCache(boolean fused) {
    SafetensorsFile golden = SafetensorsFile.open(Fixtures.TINY_MIXTRAL_GOLDEN);
    TokenSequences prompts = Fixtures.tokens(Fixtures.TINY_MIXTRAL_GOLDEN, "input_ids");
    withTrainedModels(
        fused,
        (name, model) -> {
          long[] expected = golden.readLongs(name + ".generated");
          for (int i = 0; i < prompts.count(); i++) {
            long[] wanted = Arrays.copyOfRange(expected, i * 48, (i + 1) * 48);
            assertThat(
                    Generator.of(model).withEndTokens(Set.of()).generate(prompts.sequence(i), 48))
                .isEqualTo(wanted);
            assertThat(withoutCache(model, prompts.sequence(i), 48)).isEqualTo(wanted);
          }
        });
  }

  @Test
  void greedyContinuationOfRandomWeightsEqualsTransformers() {
    Path folder = Fixtures.golden("mixtral");
    Path file = folder.resolve("golden.safetensors");
    TokenSequences prompts = Fixtures.tokens(file, "input_ids");
    long[] expected = SafetensorsFile.open(file).readLongs("generated_ids");
    try (Model model = loader(folder, true).load()) {
      for (int i = 0; i < prompts.count(); i++) {
        assertThat(Generator.of(model).withEndTokens(Set.of()).generate(prompts.sequence(i), 12))
            .isEqualTo(Arrays.copyOfRange(expected, i * 12, (i + 1) * 12));
      }
    }
  }

  private static long[] withoutCache(Model model, long[] prompt, int tokens) {
    long[] all = prompt;
    for (int i = 0; i < tokens; i++) {
      try (NDManager manager = model.getNDManager().newSubManager()) {
        NDArray ids = manager.create(all, new Shape(1, all.length));
        NDArray logits =
            model
                .getBlock()
                .forward(new ParameterStore(manager, false), new NDList(ids), false)
                .singletonOrThrow();
        long next = logits.get("0, -1").argMax().toLongArray()[0];
        all = Arrays.copyOf(all, all.length + 1);
        all[all.length - 1] = next;
      }
    }
    return Arrays.copyOfRange(all, prompt.length, all.length);
  }

  @Test
  void bfloat16StaysCloseToFloat32() {
    TokenSequences sequences = Fixtures.naeeTokens("valid.code").slice(0, 8);
    float[] wide;
    try (Model model = loader(Fixtures.TINY_MIXTRAL, true).load()) {
      wide = forward(model, sequences).logits();
    }
    try (Model model = MoeModels.loader(Fixtures.TINY_MIXTRAL).optDevice(Device.cpu()).load()) {
      assertThat(model.getDataType()).isEqualTo(DataType.BFLOAT16);
      float[] narrow = forward(model, sequences).logits();
      double error = 0;
      double norm = 0;
      int agreeing = 0;
      int vocabulary = 1024;
      for (int token = 0; token < wide.length / vocabulary; token++) {
        int best = 0;
        int bestNarrow = 0;
        for (int i = 0; i < vocabulary; i++) {
          int at = token * vocabulary;
          error += Math.pow(narrow[at + i] - wide[at + i], 2);
          norm += Math.pow(wide[at + i], 2);
          best = wide[at + i] > wide[at + best] ? i : best;
          bestNarrow = narrow[at + i] > narrow[at + bestNarrow] ? i : bestNarrow;
        }
        agreeing += best == bestNarrow ? 1 : 0;
      }
      assertThat(Math.sqrt(error / norm)).as("relative error").isLessThan(2e-2);
      assertThat(agreeing / (double) (wide.length / vocabulary))
          .as("agreement on the best token")
          .isGreaterThan(0.98);
    }
  }

  @Test
  void aCacheInBlocksGoesOnWhereTheLastBlockEnded() {
    long[] ids = Fixtures.naeeTokens("valid.code").flatten(0, 1);
    long[] more = Fixtures.naeeTokens("valid.code").flatten(1, 2);
    try (Model model = loader(Fixtures.TINY_MIXTRAL, true).load();
        NDManager manager = model.getNDManager().newSubManager();
        KeyValueCache cache = ((MoeDecoder) model.getBlock()).newCache(0)) {
      MoeDecoder decoder = (MoeDecoder) model.getBlock();
      decoder.next(manager.create(Arrays.copyOf(ids, 200), new Shape(1, 200)), cache);
      decoder.next(manager.create(Arrays.copyOfRange(ids, 200, 256), new Shape(1, 56)), cache);
      NDArray continued = decoder.next(manager.create(more, new Shape(1, 256)), cache);
      assertThat(cache.length()).isEqualTo(512);
      long[] both = Arrays.copyOf(ids, 512);
      System.arraycopy(more, 0, both, 256, 256);
      try (KeyValueCache whole = decoder.newCache(0)) {
        NDArray once = decoder.next(manager.create(both, new Shape(1, 512)), whole);
        assertClose(continued.toFloatArray(), once.toFloatArray(), "what is computed");
      }
    }
  }
}
