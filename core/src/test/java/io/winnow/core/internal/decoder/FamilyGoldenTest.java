package io.winnow.core.internal.decoder;

import static io.winnow.core.FamilyFixtures.golden;
import static io.winnow.core.FamilyFixtures.inputs;
import static io.winnow.core.LoadedModels.assertClose;
import static io.winnow.core.LoadedModels.ids;
import static io.winnow.core.LoadedModels.loader;
import static io.winnow.core.LoadedModels.logits;
import static io.winnow.core.LoadedModels.relativeError;
import static io.winnow.core.LoadedModels.routing;
import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.common.primitives.Floats;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.LoadedModels.Seen;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every family's decoder against Hugging Face Transformers 5.17, on random weights in the layout of
 * real checkpoints.
 */
class FamilyGoldenTest {
  private static MoeDecoder decoder(Model model) {
    return (MoeDecoder) model.getBlock();
  }

  @ParameterizedTest(name = "{0}, fused = {1}")
  @MethodSource("io.winnow.core.FamilyFixtures#familiesAndKernels")
  void logitsRouterLogitsExpertsAndWeightsEqualTransformers(String family, boolean fused) {
    SafetensorsFile golden = golden(family);
    try (Model model = loader(Fixtures.golden(family), fused).load()) {
      assertClose(logits(model, inputs(family)), golden.readFloats("logits"), "logits");
      Map<Integer, Seen> seen = routing(model, inputs(family));
      List<Integer> layers =
          golden.tensors().keySet().stream()
              .filter(name -> name.startsWith("router_logits."))
              .map(name -> Integer.valueOf(name.substring("router_logits.".length())))
              .sorted()
              .toList();
      assertThat(List.copyOf(seen.keySet())).isEqualTo(layers);
      for (MoeLayerView layer : decoder(model).moeLayers()) {
        int index = layer.layerIndex();
        Seen ofLayer = seen.get(index);
        RoutingDecision decision = ofLayer.decision();
        assertClose(ofLayer.logits(), golden.readFloats("router_logits." + index), "router logits");
        float[] weights = decision.weights();
        if (layer.routing().scalesInputs()) {
          float[] scores = layer.routing().scores(ofLayer.logits(), layer.numExperts());
          for (int i = 0; i < weights.length; i++) {
            assertThat(weights[i]).isEqualTo(1);
            int token = i / decision.topK();
            weights[i] = scores[token * layer.numExperts() + decision.experts()[i]];
          }
        }
        int[] expected =
            Arrays.stream(golden.readLongs("topk_index." + index))
                .mapToInt(Math::toIntExact)
                .toArray();
        Pairs actual = new Pairs(decision.experts(), weights).sorted(decision.topK());
        Pairs wanted =
            new Pairs(expected, golden.readFloats("topk_weight." + index)).sorted(decision.topK());
        assertThat(actual.experts()).isEqualTo(wanted.experts());
        assertClose(actual.weights(), wanted.weights(), "weights");
      }
    }
  }

  /** Experts and weights, in the order of the experts: several families do not sort by weight. */
  private record Pairs(int[] experts, float[] weights) {
    Pairs sorted(int topK) {
      int[] sortedExperts = experts.clone();
      float[] sortedWeights = weights.clone();
      for (int row = 0; row < experts.length; row += topK) {
        int start = row;
        int[] order =
            IntStream.range(row, row + topK)
                .boxed()
                .sorted((a, b) -> Integer.compare(experts[a], experts[b]))
                .mapToInt(Integer::intValue)
                .toArray();
        for (int i = 0; i < topK; i++) {
          sortedExperts[start + i] = experts[order[i]];
          sortedWeights[start + i] = weights[order[i]];
        }
      }
      return new Pairs(sortedExperts, sortedWeights);
    }
  }

  @ParameterizedTest(name = "{0}, fused = {1}")
  @MethodSource("io.winnow.core.FamilyFixtures#familiesAndKernels")
  void greedyContinuationEqualsTransformersAlsoOfPaddedPrompts(String family, boolean fused) {
    TokenSequences prompts = inputs(family);
    long[] expected = golden(family).readLongs("generated_ids");
    GenerationConfig config = GenerationConfig.builder(12).build();
    try (Model model = loader(Fixtures.golden(family), fused).load()) {
      Generator generator = Generator.of(model).withEndTokens(Set.of());
      for (int i = 0; i < prompts.count(); i++) {
        assertThat(generator.generate(prompts.sequence(i), 12))
            .isEqualTo(Arrays.copyOfRange(expected, i * 12, (i + 1) * 12));
      }
      long[] shorter = Arrays.copyOf(prompts.sequence(1), 6);
      List<long[]> together =
          generator.generate(List.of(prompts.sequence(0), shorter), config).stream()
              .map(generation -> generation.tokenIds())
              .toList();
      assertThat(together)
          .containsExactly(
              Arrays.copyOfRange(expected, 0, 12), generator.generate(shorter, config).tokenIds());
    }
  }

  /** Of tokens whose logits nobody asks for, the last layer computes keys and values alone. */
  @ParameterizedTest(name = "{0}, fused = {1}")
  @MethodSource("io.winnow.core.FamilyFixtures#familiesAndKernels")
  void theLastTokensLogitsAreThoseOfAllWhetherOrNotAHookWatchesEveryToken(
      String family, boolean fused) {
    try (Model model = loader(Fixtures.golden(family), fused).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = ids(manager, inputs(family));
      for (long padding : new long[] {0, 3}) {
        for (int count : new int[] {1, 2}) {
          AtomicLong watched = new AtomicLong();
          float[] cut = lastLogits(model, ids, padding, count);
          decoder(model)
              .routerHooks()
              .set(
                  (layer, logits, decision) -> {
                    watched.addAndGet(decision.tokens());
                    return decision;
                  });
          assertClose(cut, lastLogits(model, ids, padding, count), "logits");
          decoder(model).routerHooks().set(null);
          assertThat(watched.get())
              .isEqualTo((long) decoder(model).moeLayers().size() * 2 * inputs(family).length());
        }
      }
    }
  }

  /** Logits of the last tokens of a prompt, and those behind them, which need the cache. */
  private static float[] lastLogits(Model model, NDArray ids, long padding, int count) {
    try (KeyValueCache cache = decoder(model).newCache(padding, 0)) {
      long length = ids.getShape().get(1);
      float[] first =
          decoder(model).next(ids.get(":, :{}", length - 2), cache, count).toFloatArray();
      float[] second = decoder(model).next(ids.get(":, {}:", length - 2), cache).toFloatArray();
      return Floats.concat(first, second);
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void stepsOfOneTokenAreTheSameInJavaAndInTorchScript(String family) {
    long[] tokens = inputs(family).sequence(1);
    try (Model model = loader(Fixtures.golden(family), true).load();
        Model torch = loader(Fixtures.golden(family), true).optJavaStepsUpTo(0).load()) {
      float[] whole = logits(model, TokenSequences.of(new long[][] {tokens}));
      assertClose(stepped(model, tokens), whole, "logits of steps");
      assertClose(stepped(torch, tokens), whole, "logits of steps in TorchScript");
      assertThat(decoder(torch).singleTokenKernel()).isNull();
      assertThat(decoder(model).singleTokenKernel() != null)
          .as("whether the family's layers are like Mixtral's")
          .isEqualTo(List.of("mixtral", "granitemoe", "solar_open").contains(family));
    }
  }

  /** The logits of all tokens, of which the first two are taken together and then one at a time. */
  private static float[] stepped(Model model, long[] tokens) {
    try (NDManager manager = model.getNDManager().newSubManager();
        KeyValueCache cache = decoder(model).newCache(0)) {
      NDArray ids = manager.create(new long[][] {tokens});
      List<float[]> logits = new ArrayList<>();
      logits.add(decoder(model).next(ids.get(":, :2"), cache, 2).toFloatArray());
      for (int i = 2; i < tokens.length; i++) {
        NDArray id = ids.get(":, {}:{}", i, i + 1);
        logits.add(decoder(model).next(id, cache).toFloatArray());
      }
      return Floats.concat(logits.toArray(float[][]::new));
    }
  }

  @ParameterizedTest(name = "{0}, fused = {1}")
  @MethodSource("io.winnow.core.FamilyFixtures#familiesAndKernels")
  void aCacheInBlocksGoesOnWhereTheLastBlockEnded(String family, boolean fused) {
    TokenSequences all = inputs(family);
    try (Model model = loader(Fixtures.golden(family), fused).load();
        NDManager manager = model.getNDManager().newSubManager();
        KeyValueCache cache = decoder(model).newCache(0, 0)) {
      NDArray ids = ids(manager, all);
      decoder(model).next(ids.get(":, :7"), cache);
      decoder(model).next(ids.get(":, 7:11"), cache);
      NDArray last = decoder(model).next(ids.get(":, 11:"), cache, 6);
      float[] whole =
          manager
              .create(logits(model, all), new Shape(2, all.length(), 128))
              .get(":, 11:")
              .toFloatArray();
      assertClose(last.toFloatArray(), whole, "logits");
      NDList pastOf = decoder(model).step(ids.get(":, :5"), new NDList(), 0, 0);
      NDList past = new NDList(pastOf.subList(2, pastOf.size()));
      NDArray stepped = decoder(model).step(ids.get(":, 5:"), past, 0, 0).get(0);
      assertClose(
          stepped.get(":, 6:").toFloatArray(), last.toFloatArray(), "logits behind given arrays");
    }
  }

  /**
   * With the experts that float32 selects, and with its own: those differ for few tokens of
   * DeepSeek-V3's random weights, whose groups are nearly equal there.
   */
  @ParameterizedTest(name = "{0}")
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void bfloat16StaysCloseToFloat32(String family) {
    float[] wide;
    Map<Integer, Seen> routed;
    try (Model model = loader(Fixtures.golden(family), true).load()) {
      wide = logits(model, inputs(family));
      routed = routing(model, inputs(family));
    }
    try (Model model = loader(Fixtures.golden(family), true).optDataType(DataType.BFLOAT16).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray narrow =
          decoder(model)
              .logits(
                  ids(manager, inputs(family)),
                  new ForwardObserver() {
                    @Override
                    public RoutingDecision onRouting(
                        MoeLayerView layer, float[] values, RoutingDecision decision) {
                      return routed.get(layer.layerIndex()).decision();
                    }
                  });
      assertThat(relativeError(narrow.toFloatArray(), wide)).as("same experts").isLessThan(3e-2);
      float[] ownLogits = logits(model, inputs(family));
      double own = relativeError(ownLogits, wide);
      assertThat(own).as("own experts").isLessThan(family.equals("deepseek_v3") ? 0.15 : 3e-2);
      // A token at a time goes other ways through the kernel.
      try (KeyValueCache cache = decoder(model).newCache(0, 0)) {
        NDArray ids = ids(manager, inputs(family));
        decoder(model).next(ids.get(":, :16"), cache);
        float[] last = decoder(model).next(ids.get(":, 16:"), cache).toFloatArray();
        float[] whole =
            manager.create(ownLogits, new Shape(2, 17, 128)).get(":, 16:").toFloatArray();
        assertThat(relativeError(last, whole)).as("one token").isLessThan(3e-2);
      }
    }
  }
}
