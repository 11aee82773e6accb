package io.winnow.core.internal.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import com.google.common.primitives.Floats;
import com.google.common.primitives.Ints;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.ExpertMerge;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every family's decoder against Hugging Face Transformers 5.17, on random weights in the layout of
 * real checkpoints.
 */
class FamilyGoldenTest {
  private static final double TOLERANCE = 1e-4;

  @TempDir Path folder;

  static List<String> families() {
    return FamilyFixtures.FAMILIES;
  }

  static Stream<Arguments> familiesAndKernels() {
    return families().stream()
        .flatMap(family -> Stream.of(Arguments.of(family, true), Arguments.of(family, false)));
  }

  private static MoeModels.Loader loader(Path folder, boolean fused) {
    return MoeModels.loader(folder)
        .optDevice(Device.cpu())
        .optDataType(DataType.FLOAT32)
        .optFused(fused);
  }

  private static SafetensorsFile golden(String family) {
    return SafetensorsFile.open(Fixtures.golden(family).resolve("golden.safetensors"));
  }

  private static TokenSequences inputs(String family) {
    return Fixtures.tokens(Fixtures.golden(family).resolve("golden.safetensors"), "input_ids");
  }

  private static MoeDecoder decoder(Model model) {
    return (MoeDecoder) model.getBlock();
  }

  private static NDArray ids(NDManager manager, TokenSequences sequences) {
    return manager.create(
        sequences.flatten(0, sequences.count()), new Shape(sequences.count(), sequences.length()));
  }

  private static float[] logits(Model model, TokenSequences sequences) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      return model
          .getBlock()
          .forward(new ParameterStore(manager, false), new NDList(ids(manager, sequences)), false)
          .singletonOrThrow()
          .toFloatArray();
    }
  }

  private static void assertClose(float[] actual, float[] expected, String what) {
    assertThat(actual).as(what).hasSameSizeAs(expected);
    double worst = 0;
    for (int i = 0; i < actual.length; i++) {
      double difference = Math.abs((double) actual[i] - expected[i]);
      worst = difference <= worst ? worst : difference;
    }
    assertThat(worst).as("greatest difference of " + what).isLessThan(TOLERANCE);
  }

  /** What an observer sees of the routing. */
  private record Seen(float[] logits, RoutingDecision decision) {}

  private static Map<Integer, Seen> routing(Model model, TokenSequences sequences) {
    Map<Integer, Seen> seen = new TreeMap<>();
    decoder(model)
        .forward(
            sequences,
            new ForwardObserver() {
              @Override
              public RoutingDecision onRouting(
                  MoeLayerView layer, float[] values, RoutingDecision decision) {
                seen.put(layer.layerIndex(), new Seen(values, decision));
                return decision;
              }
            });
    return seen;
  }

  @ParameterizedTest(name = "{0}, fused = {1}")
  @MethodSource("familiesAndKernels")
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
  @MethodSource("familiesAndKernels")
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
  @MethodSource("familiesAndKernels")
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
  @MethodSource("families")
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
          .isEqualTo(List.of("mixtral", "granitemoe").contains(family));
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
  @MethodSource("familiesAndKernels")
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
  @MethodSource("families")
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

  private static double relativeError(float[] actual, float[] expected) {
    double error = 0;
    double norm = 0;
    for (int i = 0; i < expected.length; i++) {
      error += Math.pow(actual[i] - expected[i], 2);
      norm += Math.pow(expected[i], 2);
    }
    return Math.sqrt(error / norm);
  }

  private static Map<Integer, List<Integer>> retained(String family) throws IOException {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    pruned(family)
        .getAsJsonObject("kept")
        .asMap()
        .forEach(
            (layer, experts) ->
                retained.put(
                    Integer.valueOf(layer),
                    experts.getAsJsonArray().asList().stream()
                        .map(JsonElement::getAsInt)
                        .toList()));
    return retained;
  }

  private static JsonObject pruned(String family) throws IOException {
    return JsonParser.parseString(Files.readString(Fixtures.golden(family).resolve("pruned.json")))
        .getAsJsonObject();
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void prunedLogitsEqualTransformers(String family) throws Exception {
    Path source = Fixtures.golden(family);
    Map<Integer, List<Integer>> retained = retained(family);
    Path golden = source.resolve("golden_pruned.safetensors");
    TokenSequences sequences = Fixtures.tokens(golden, "input_ids");
    float[] expected = SafetensorsFile.open(golden).readFloats("logits");
    Path onDisk = folder.resolve("pruned");
    MoeModels.writePruned(source, retained, new Provenance("test", null, 0, null), onDisk, null);
    try (Model model = loader(onDisk, true).load()) {
      assertClose(logits(model, sequences), expected, "logits of the folder");
    }
    try (Model model = loader(source, true).optRetained(retained).load()) {
      assertClose(logits(model, sequences), expected, "logits of the experts read");
    }
    try (Model model = loader(source, true).load()) {
      MoeModel.of(model)
          .moeLayers()
          .forEach(layer -> layer.retain(Ints.toArray(retained.get(layer.layerIndex()))));
      assertClose(logits(model, sequences), expected, "logits after retain");
      Path saved = folder.resolve("saved");
      MoeModels.save(model, saved);
      assertThat(saved.resolve("model.safetensors"))
          .hasSameBinaryContentAs(onDisk.resolve("model.safetensors"));
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void aPrunedFolderHasTheKeptExpertsBytesAndAllOtherTensors(String family) throws Exception {
    Path source = Fixtures.golden(family);
    Map<Integer, List<Integer>> retained = retained(family);
    Path target = folder.resolve("pruned");
    MoeModels.writePruned(source, retained, new Provenance("test", null, 0, null), target, null);
    Map<String, byte[]> expected = new HashMap<>();
    for (TensorInfo info : Checkpoint.open(source).tensors().values()) {
      byte[] bytes = bytes(info);
      Matcher expert = FamilyFixtures.EXPERT.matcher(info.name());
      Matcher rows = FamilyFixtures.EXPERT_ROWS.matcher(info.name());
      if (expert.matches()) {
        List<Integer> kept = retained.get(Integer.valueOf(expert.group(2)));
        int place = kept.indexOf(Integer.valueOf(expert.group(3)));
        if (place >= 0) {
          expected.put(expert.group(1) + place + expert.group(4), bytes);
        }
      } else if (rows.matches()) {
        List<Integer> kept = retained.get(Integer.valueOf(rows.group(1)));
        int row = bytes.length / pruned(family).get("experts").getAsInt();
        ByteBuffer cut = ByteBuffer.allocate(row * kept.size());
        kept.forEach(index -> cut.put(bytes, index * row, row));
        expected.put(info.name(), cut.array());
      } else {
        expected.put(info.name(), bytes);
      }
    }
    Map<String, TensorInfo> written = Checkpoint.open(target).tensors();
    assertThat(written.keySet()).isEqualTo(expected.keySet());
    for (TensorInfo info : written.values()) {
      assertThat(bytes(info)).as(info.name()).isEqualTo(expected.get(info.name()));
    }
    JsonObject config =
        JsonParser.parseString(Files.readString(target.resolve("config.json"))).getAsJsonObject();
    assertThat(config.get(pruned(family).get("config_field").getAsString()))
        .isEqualTo(pruned(family).get("kept_count"));
  }

  private static byte[] bytes(TensorInfo info) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(Math.toIntExact(info.length()));
    try (FileChannel channel = FileChannel.open(info.file())) {
      channel.read(buffer, info.offset());
    }
    return buffer.array();
  }

  /** The experts' part of a layer's output, from the parts that a layer's view offers. */
  @ParameterizedTest(name = "{0}, fused = {1}")
  @MethodSource("familiesAndKernels")
  void routerAndExpertsOfAViewAreThoseOfTheDecoder(String family, boolean fused) {
    SafetensorsFile golden = golden(family);
    try (Model model = loader(Fixtures.golden(family), fused).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      for (MoeLayerView layer : MoeModel.of(model).moeLayers()) {
        int index = layer.layerIndex();
        NDArray input = manager.create(golden.readFloats("moe_in." + index)).reshape(34, -1);
        NDArray logits = layer.routerLogits(input);
        assertClose(
            logits.toFloatArray(), golden.readFloats("router_logits." + index), "router logits");
        RoutingDecision decision = layer.routing().route(logits.toFloatArray(), layer.numExperts());
        NDArray sum = manager.zeros(input.getShape());
        for (int expert = 0; expert < layer.numExperts(); expert++) {
          float[] factors = new float[34];
          for (int token = 0; token < 34; token++) {
            for (int rank = 0; rank < decision.topK(); rank++) {
              if (decision.expert(token, rank) == expert) {
                factors[token] = decision.weight(token, rank);
              }
            }
          }
          NDArray output = layer.expertOutput(expert, input);
          sum = sum.add(output.mul(manager.create(factors, new Shape(34, 1))));
        }
        // A shared expert's output is the same for any choice of the others.
        float[] whole = golden.readFloats("moe_out." + index);
        NDArray shared = manager.create(whole).reshape(34, -1).sub(sum);
        if (!Set.of("qwen2_moe", "deepseek_v2", "deepseek_v3", "glm4_moe", "ernie4_5_moe", "llama4")
            .contains(family)) {
          assertClose(sum.toFloatArray(), whole, "output of the experts");
        } else {
          assertThat(shared.norm().toFloatArray()[0]).as("shared experts").isGreaterThan(1e-3f);
        }
      }
    }
  }

  @Test
  void groupsThatWouldDifferInSizeAreRefused() {
    Path source = Fixtures.golden("deepseek_v3");
    Map<Integer, List<Integer>> uneven =
        Map.of(1, List.of(0, 1, 2, 3, 4, 6, 7, 9), 2, List.of(0, 1, 3, 4, 6, 7, 9, 10));
    assertThatThrownBy(
            () ->
                MoeModels.writePruned(
                    source,
                    uneven,
                    new Provenance("test", null, 0, null),
                    folder.resolve("uneven"),
                    null))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("4 groups of 3")
        .hasMessageContaining("[3, 2, 2, 1]");
    try (Model model = loader(source, true).load()) {
      MoeLayerView layer = MoeModel.of(model).moeLayers().get(0);
      float[] before = logits(model, inputs("deepseek_v3"));
      assertThatThrownBy(() -> layer.retain(0, 1, 2, 3, 4, 6, 7, 9))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("4 groups of 3");
      assertThat(logits(model, inputs("deepseek_v3"))).isEqualTo(before);
    }
  }

  @Test
  void theTextOfAMultimodalLlama4IsReadAndThePictureCarriedAlong() throws Exception {
    Path source = Fixtures.golden("llama4");
    Path nested = Files.createDirectories(folder.resolve("nested"));
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : Checkpoint.open(source).tensors().values()) {
      tensors.add(OutputTensor.copyOf(info, "language_model." + info.name()));
    }
    OutputTensor vision =
        OutputTensor.ofFloats("vision_model.class_embedding", List.of(3L), new float[] {1, 2, 3});
    tensors.add(vision);
    SafetensorsFile.write(nested.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
    JsonObject config = new JsonObject();
    config.addProperty("model_type", "llama4");
    config.add(
        "text_config", JsonParser.parseString(Files.readString(source.resolve("config.json"))));
    Files.writeString(nested.resolve("config.json"), config.toString());
    try (Model model = loader(nested, true).load()) {
      assertClose(logits(model, inputs("llama4")), golden("llama4").readFloats("logits"), "logits");
    }
    Path target = folder.resolve("pruned");
    MoeModels.writePruned(
        nested, retained("llama4"), new Provenance("test", null, 0, null), target, null);
    JsonObject written =
        JsonParser.parseString(Files.readString(target.resolve("config.json"))).getAsJsonObject();
    assertThat(written.getAsJsonObject("text_config").get("num_local_experts").getAsInt())
        .isEqualTo(pruned("llama4").get("kept_count").getAsInt());
    assertThat(SafetensorsFile.open(target.resolve("model.safetensors")).readFloats(vision.name()))
        .containsExactly(1, 2, 3);
    try (Model model = loader(target, true).load()) {
      Path golden = source.resolve("golden_pruned.safetensors");
      assertClose(
          logits(model, Fixtures.tokens(golden, "input_ids")),
          SafetensorsFile.open(golden).readFloats("logits"),
          "logits");
    }
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource({"deepseek_v2, 3", "deepseek_v3, 3", "glm4_moe, 3"})
  void extraPredictionLayersAreCarriedAlong(String family, int layer) throws Exception {
    Path source = Fixtures.golden(family);
    Path extended = Files.createDirectories(folder.resolve("extended"));
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : Checkpoint.open(source).tensors().values()) {
      tensors.add(OutputTensor.copyOf(info));
    }
    String extra = "model.layers." + layer + ".mlp.gate.weight";
    tensors.add(OutputTensor.ofFloats(extra, List.of(2L), new float[] {4, 5}));
    SafetensorsFile.write(extended.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
    Files.copy(source.resolve("config.json"), extended.resolve("config.json"));
    Path target = folder.resolve("pruned");
    MoeModels.writePruned(
        extended, retained(family), new Provenance("test", null, 0, null), target, null);
    assertThat(SafetensorsFile.open(target.resolve("model.safetensors")).readFloats(extra))
        .containsExactly(4, 5);
  }

  /** The same model by the names that fields had before Transformers 5. */
  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void olderNamesOfFieldsAreRead(String family) throws Exception {
    Path source = Fixtures.golden(family);
    Path old = Files.createDirectories(folder.resolve("old"));
    Files.copy(source.resolve("model.safetensors"), old.resolve("model.safetensors"));
    JsonObject config =
        JsonParser.parseString(Files.readString(source.resolve("config.json"))).getAsJsonObject();
    JsonObject rope = config.remove("rope_parameters").getAsJsonObject();
    config.add("rope_theta", rope.remove("rope_theta"));
    JsonElement part = rope.remove("partial_rotary_factor");
    if (part != null) {
      config.add("partial_rotary_factor", part);
    }
    JsonElement type = rope.remove("rope_type");
    if (!type.getAsString().equals("default")) {
      rope.add("type", type);
      config.add("rope_scaling", rope);
    }
    config.add("torch_dtype", config.remove("dtype"));
    if (family.equals("qwen3_moe")) {
      config.add("num_experts", config.remove("num_local_experts"));
    }
    Files.writeString(old.resolve("config.json"), config.toString());
    try (Model model = loader(old, true).load()) {
      assertClose(logits(model, inputs(family)), golden(family).readFloats("logits"), "logits");
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void whatIsNotMergedOrTrainedIsRefusedWithItsReason(String family) {
    boolean single = Set.of("mixtral", "qwen3_moe", "olmoe").contains(family);
    try (Model model = loader(Fixtures.golden(family), true).load()) {
      MergeableMoeLayer layer = decoder(model).moeLayers().get(0);
      int experts = layer.numExperts();
      double[][] identity = new double[experts][experts];
      for (int i = 0; i < experts; i++) {
        identity[i][i] = 1;
      }
      ExpertMerge merge = ExpertMerge.of(identity, identity);
      float[] before = logits(model, inputs(family));
      if (single) {
        layer.applyMerge(merge, layer.routing().topK());
        assertClose(logits(model, inputs(family)), before, "logits");
        layer.undoMerge();
      } else {
        assertThatThrownBy(() -> layer.applyMerge(merge, layer.routing().topK()))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContaining("not merged");
        try (NDManager manager = model.getNDManager().newSubManager()) {
          NDList ids = new NDList(ids(manager, inputs(family)));
          ParameterStore store = new ParameterStore(manager, false);
          assertThatThrownBy(() -> model.getBlock().forward(store, ids, true))
              .isInstanceOf(InvalidInputException.class)
              .hasMessageContaining("not trained");
        }
      }
      assertThat(logits(model, inputs(family))).isEqualTo(before);
    }
  }

  @Test
  void anUnknownFamilySaysWhichAreSupportedAndWhereToAddOne() throws Exception {
    Path unknown = Files.createDirectories(folder.resolve("unknown"));
    Files.copy(
        Fixtures.golden("mixtral").resolve("model.safetensors"),
        unknown.resolve("model.safetensors"));
    JsonObject config =
        JsonParser.parseString(Files.readString(Fixtures.golden("mixtral").resolve("config.json")))
            .getAsJsonObject();
    config.addProperty("model_type", "jamba");
    config.add("architectures", new JsonArray());
    Files.writeString(unknown.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> loader(unknown, true).load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'jamba'")
        .hasMessageContaining("deepseek_v3")
        .hasMessageContaining("README");
  }
}
