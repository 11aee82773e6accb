package io.winnow.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.inference.Predictor;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Parameter;
import ai.djl.training.DefaultTrainingConfig;
import ai.djl.training.GradientCollector;
import ai.djl.training.ParameterStore;
import ai.djl.training.Trainer;
import ai.djl.training.loss.SoftmaxCrossEntropyLoss;
import ai.djl.training.optimizer.Optimizer;
import ai.djl.training.tracker.Tracker;
import ai.djl.translate.NoopTranslator;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class MoeModelsTest {
  @TempDir private Path folder;

  private static Model load(Path checkpoint) {
    return float32(checkpoint).load();
  }

  private static MoeModels.Loader float32(Path checkpoint) {
    return MoeModels.loader(checkpoint).optDevice(Device.cpu()).optDataType(DataType.FLOAT32);
  }

  private static float[] logits(Model model, long... ids) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDArray input = manager.create(ids, new Shape(1, ids.length));
      return model
          .getBlock()
          .forward(new ParameterStore(manager, false), new NDList(input), false)
          .singletonOrThrow()
          .toFloatArray();
    }
  }

  private static float[] last(float[] logits, int vocabulary) {
    return Arrays.copyOfRange(logits, logits.length - vocabulary, logits.length);
  }

  // ---- reading
  // -----------------------------------------------------------------------------------

  @Test
  void oldAndNewFieldNamesMeanTheSame() throws Exception {
    JsonObject rope = new JsonObject();
    rope.addProperty("rope_theta", 500.0);
    rope.addProperty("rope_type", "default");
    Path recent =
        new RandomCheckpoint()
            .set("rope_parameters", rope)
            .set("dtype", "float32")
            .write(folder.resolve("new"));
    Path old =
        new RandomCheckpoint()
            .set("rope_theta", 500.0)
            .set("torch_dtype", "float32")
            .write(folder.resolve("old"));
    Path other = new RandomCheckpoint().set("rope_theta", 600.0).write(folder.resolve("other"));
    try (Model a = load(recent);
        Model b = load(old);
        Model c = load(other)) {
      assertThat(logits(a, 1, 2, 3, 4)).containsExactly(logits(b, 1, 2, 3, 4));
      assertThat(logits(a, 1, 2, 3, 4)).isNotEqualTo(logits(c, 1, 2, 3, 4));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = TensorType.class,
      names = {"F16", "BF16"})
  void theSameValuesInOtherTypesGiveTheSameFloat32Logits(TensorType type) throws Exception {
    Path wide = new RandomCheckpoint().write(folder.resolve("wide"));
    Path narrow = new RandomCheckpoint().type(type).write(folder.resolve("narrow"));
    try (Model a = load(wide);
        Model b = load(narrow);
        Model stored = MoeModels.load(narrow, Device.cpu())) {
      assertThat(logits(b, 1, 2, 3)).containsExactly(logits(a, 1, 2, 3), within(1e-4f));
      assertThat(stored.getDataType())
          .isEqualTo(type == TensorType.F16 ? DataType.FLOAT16 : DataType.BFLOAT16);
      float[] exact = logits(a, 1, 2, 3);
      float[] rounded = logits(stored, 1, 2, 3);
      for (int i = 0; i < exact.length; i++) {
        assertThat(rounded[i]).isCloseTo(exact[i], within(0.1f * (1 + Math.abs(exact[i]))));
      }
    }
  }

  @Test
  void float32CanBeComputedInBfloat16() throws Exception {
    Path wide = new RandomCheckpoint().write(folder.resolve("wide"));
    Path narrow = new RandomCheckpoint().type(TensorType.BF16).write(folder.resolve("narrow"));
    try (Model converted =
            MoeModels.loader(wide).optDevice(Device.cpu()).optDataType(DataType.BFLOAT16).load();
        Model stored = MoeModels.load(narrow, Device.cpu())) {
      assertThat(logits(converted, 1, 2, 3)).containsExactly(logits(stored, 1, 2, 3));
    }
  }

  @Test
  void theHeadMayBeTheEmbedding() throws Exception {
    Path tied =
        new RandomCheckpoint().set("tie_word_embeddings", true).write(folder.resolve("tied"));
    RandomCheckpoint untied = new RandomCheckpoint();
    List<OutputTensor> tensors =
        new ArrayList<>(new RandomCheckpoint().set("tie_word_embeddings", true).tensors());
    OutputTensor embedding = tensors.get(0);
    tensors.add(
        new OutputTensor(
            "lm_head.weight", embedding.type(), embedding.shape(), embedding.segments()));
    Path copied = untied.write(folder.resolve("untied"), tensors);
    for (boolean fused : new boolean[] {true, false}) {
      try (Model a = float32(tied).optFused(fused).load();
          Model b = float32(copied).optFused(fused).load()) {
        assertThat(logits(a, 1, 2, 3)).containsExactly(logits(b, 1, 2, 3), within(1e-4f));
      }
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @CsvSource({"true", "false"})
  void aSlidingWindowHidesWhatIsFurtherBack(boolean fused) throws Exception {
    Path windowed =
        new RandomCheckpoint()
            .set("num_hidden_layers", 1)
            .set("sliding_window", 4)
            .write(folder.resolve("windowed"));
    Path open = new RandomCheckpoint().set("num_hidden_layers", 1).write(folder.resolve("open"));
    try (Model a = float32(windowed).optFused(fused).load();
        Model b = float32(open).optFused(fused).load()) {
      // One layer, and rotary positions are relative: the last token sees just the last four.
      float[] seen = last(logits(b, 6, 7, 8, 9), 50);
      assertThat(last(logits(a, 1, 2, 3, 4, 5, 6, 7, 8, 9), 50))
          .containsExactly(seen, within(1e-5f));
      assertThat(last(logits(b, 5, 6, 7, 8, 9), 50)).isNotEqualTo(seen);
      assertThat(logits(a, 1, 2, 3, 4)).containsExactly(logits(b, 1, 2, 3, 4), within(1e-6f));
      MoeDecoder decoder = (MoeDecoder) a.getBlock();
      try (NDManager manager = a.getNDManager().newSubManager();
          var cache = decoder.newCache(0)) {
        decoder.next(manager.create(new long[] {1, 2, 3, 4, 5}, new Shape(1, 5)), cache);
        decoder.next(manager.create(new long[] {6, 7, 8}, new Shape(1, 3)), cache);
        assertThat(
                decoder.next(manager.create(new long[] {9}, new Shape(1, 1)), cache).toFloatArray())
            .containsExactly(seen, within(1e-5f));
      }
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @CsvSource({"true", "false"})
  void paddingOnTheLeftDoesNotChangeASequence(boolean fused) throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = float32(checkpoint).optFused(fused).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      MoeDecoder decoder = (MoeDecoder) model.getBlock();
      long[] batch = {0, 0, 7, 8, 9, /* next sequence */ 1, 2, 3, 4, 5};
      try (var cache = decoder.newCache(2, 0)) {
        float[] both = decoder.next(manager.create(batch, new Shape(2, 5)), cache).toFloatArray();
        assertThat(Arrays.copyOf(both, 50))
            .containsExactly(last(logits(model, 7, 8, 9), 50), within(1e-5f));
        assertThat(Arrays.copyOfRange(both, 50, 100))
            .containsExactly(last(logits(model, 1, 2, 3, 4, 5), 50), within(1e-5f));
        float[] next =
            decoder.next(manager.create(new long[] {10, 6}, new Shape(2, 1)), cache).toFloatArray();
        assertThat(Arrays.copyOf(next, 50))
            .containsExactly(last(logits(model, 7, 8, 9, 10), 50), within(1e-5f));
      }
    }
  }

  @Test
  void tensorsAtOddOffsetsAreRead() throws Exception {
    RandomCheckpoint random = new RandomCheckpoint();
    Path aligned = random.write(folder.resolve("aligned"));
    Path shifted = random.write(folder.resolve("shifted"));
    Path file = shifted.resolve("model.safetensors");
    byte[] bytes = Files.readAllBytes(file);
    // A header that is 3 blanks longer: allowed by the format, though no writer does it.
    ByteBuffer longer = ByteBuffer.allocate(bytes.length + 3).order(ByteOrder.LITTLE_ENDIAN);
    long header = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
    longer.putLong(header + 3).put(bytes, 8, (int) header).put("   ".getBytes("UTF-8"));
    longer.put(bytes, 8 + (int) header, bytes.length - 8 - (int) header);
    Files.write(file, longer.array());
    try (Model a = load(aligned);
        Model b = load(shifted)) {
      assertThat(logits(b, 1, 2, 3)).containsExactly(logits(a, 1, 2, 3), within(1e-4f));
    }
  }

  @Test
  void weightsBeyondFourGibibytesOfAFileAreMapped() throws Exception {
    RandomCheckpoint random = new RandomCheckpoint();
    Path small = random.write(folder.resolve("small"));
    Path large = random.write(folder.resolve("large"));
    Path file = large.resolve("model.safetensors");
    long extra = 4500L << 20; // A tensor nobody needs, and which takes no room on the disk.
    byte[] bytes = Files.readAllBytes(file);
    int header = (int) ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
    JsonObject json =
        JsonParser.parseString(new String(bytes, 8, header, StandardCharsets.UTF_8))
            .getAsJsonObject();
    json.remove("__metadata__");
    for (String name : json.keySet()) {
      JsonArray offsets = json.getAsJsonObject(name).getAsJsonArray("data_offsets");
      for (int i = 0; i < 2; i++) {
        offsets.set(i, new JsonPrimitive(offsets.get(i).getAsLong() + extra));
      }
    }
    json.add(
        "unused",
        JsonParser.parseString(
            "{\"dtype\": \"U8\", \"shape\": ["
                + extra
                + "], \"data_offsets\": [0, "
                + extra
                + "]}"));
    String text = json.toString();
    byte[] padded = (text + " ".repeat(-text.length() & 7)).getBytes(StandardCharsets.UTF_8);
    Files.delete(file);
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      channel.write(
          ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(padded.length).flip());
      channel.write(ByteBuffer.wrap(padded));
      channel.write(
          ByteBuffer.wrap(bytes, 8 + header, bytes.length - 8 - header), 8 + padded.length + extra);
    }
    try (Model a = load(small);
        Model b = load(large)) {
      assertThat(logits(b, 1, 2, 3)).containsExactly(logits(a, 1, 2, 3), within(1e-4f));
    }
  }

  @Test
  void onlyTheRetainedExpertsAreRead() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    Map<Integer, List<Integer>> retained = Fixtures.everywhere(2, 1, 3);
    try (Model part = float32(checkpoint).optRetained(retained).load();
        Model whole = load(checkpoint)) {
      assertThat(MoeModel.of(part).moeLayers())
          .allSatisfy(layer -> assertThat(layer.numExperts()).isEqualTo(2));
      assertThat(part.getBlock().getParameters().size())
          .isEqualTo(whole.getBlock().getParameters().size() - 2 * 2 * 3);
      MoeModel.of(whole).moeLayers().forEach(layer -> layer.retain(1, 3));
      assertThat(logits(part, 1, 2, 3)).containsExactly(logits(whole, 1, 2, 3));
      assertThat(part.getBlock().getParameters().size())
          .isEqualTo(whole.getBlock().getParameters().size());
    }
  }

  @Test
  void anUnknownModelTypeSaysWhatIsSupported() throws Exception {
    Path checkpoint =
        new RandomCheckpoint().set("model_type", "mamba").write(folder.resolve("model"));
    assertThatThrownBy(() -> load(checkpoint))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'mamba'")
        .hasMessageContaining("mixtral");
  }

  @ParameterizedTest(name = "{0} = {1}")
  @CsvSource({
    "hidden_act, gelu, silu",
    "num_experts_per_tok, 5, num_local_experts",
    "num_key_value_heads, 3, divide",
    "head_dim, 7, even",
    "num_hidden_layers, 2000000000, model.layers.2",
    "num_local_experts, 2000000000, expected",
    "vocab_size, 0, vocab_size"
  })
  void impossibleConfigurationsAreErrorsAtOnce(String field, String value, String message)
      throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    JsonObject config =
        JsonParser.parseString(Files.readString(checkpoint.resolve("config.json")))
            .getAsJsonObject();
    config.add(field, JsonParser.parseString(value));
    Files.writeString(checkpoint.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> load(checkpoint))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
  }

  @Test
  void unknownScalingOfTheRotaryEmbeddingIsRefused() throws Exception {
    JsonObject rope = new JsonObject();
    rope.addProperty("rope_type", "spiral");
    rope.addProperty("factor", 4.0);
    Path checkpoint =
        new RandomCheckpoint().set("rope_scaling", rope).write(folder.resolve("model"));
    assertThatThrownBy(() -> load(checkpoint))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'spiral'");
  }

  @Test
  void missingTensorsWrongShapesAndTypesAreErrors() throws Exception {
    RandomCheckpoint random = new RandomCheckpoint();
    List<OutputTensor> tensors = random.tensors();
    String name = "model.layers.1.block_sparse_moe.experts.3.w2.weight";
    List<OutputTensor> missing =
        tensors.stream().filter(tensor -> !tensor.name().equals(name)).toList();
    Path without = random.write(folder.resolve("without"), missing);
    assertThatThrownBy(() -> load(without))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(name);

    List<OutputTensor> turned = new ArrayList<>(missing);
    tensors.stream()
        .filter(tensor -> tensor.name().equals(name))
        .map(t -> new OutputTensor(name, t.type(), List.of(24L, 16L), t.segments()))
        .forEach(turned::add);
    Path wrongShape = random.write(folder.resolve("shape"), turned);
    assertThatThrownBy(() -> load(wrongShape))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(name)
        .hasMessageContaining("24")
        .hasMessageContaining("16");

    List<OutputTensor> integers = new ArrayList<>(missing);
    tensors.stream()
        .filter(tensor -> tensor.name().equals(name))
        .map(t -> new OutputTensor(name, TensorType.I32, t.shape(), t.segments()))
        .forEach(integers::add);
    Path wrongType = random.write(folder.resolve("type"), integers);
    assertThatThrownBy(() -> load(wrongType))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(name)
        .hasMessageContaining("I32");
  }

  @Test
  void aSelectionThatDoesNotFitIsRefused() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    Map<Integer, List<Integer>> different = new TreeMap<>(Fixtures.everywhere(2, 0, 1));
    different.put(1, List.of(0, 1, 2));
    Map<Map<Integer, List<Integer>>, String> bad =
        Map.of(
            Fixtures.everywhere(2, 0),
            "retain at least 2",
            Fixtures.everywhere(2, 0, 4),
            "0 to 3",
            Fixtures.everywhere(2, 1, 0),
            "ascend",
            Fixtures.everywhere(2, 1, 1),
            "ascend",
            Fixtures.everywhere(1, 0, 1),
            "layer 1",
            Fixtures.everywhere(3, 0, 1),
            "Layer 2");
    bad.forEach(
        (retained, message) -> {
          assertThatThrownBy(() -> float32(checkpoint).optRetained(retained).load())
              .isInstanceOf(InvalidInputException.class)
              .hasMessageContaining(message);
          assertThatThrownBy(
                  () ->
                      MoeModels.writePruned(
                          checkpoint,
                          retained,
                          new Provenance("test", null, 0, null),
                          folder.resolve("out"),
                          null))
              .isInstanceOf(InvalidInputException.class)
              .hasMessageContaining(message);
        });
    assertThat(folder).isDirectoryNotContaining(path -> !path.equals(checkpoint));
    try (Model model = float32(checkpoint).optRetained(different).load()) {
      assertThat(MoeModel.of(model).moeLayers().get(1).numExperts()).isEqualTo(3);
    }
  }

  @Test
  void retainingLessThanTopKLeavesTheLayerAsItIs() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      float[] before = logits(model, 1, 2, 3);
      MoeLayerView layer = MoeModel.of(model).moeLayers().get(1);
      assertThatThrownBy(() -> layer.retain(2))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("Layer 1")
          .hasMessageContaining("[2]");
      assertThatThrownBy(() -> layer.retain(0, 9)).isInstanceOf(InvalidInputException.class);
      assertThat(layer.numExperts()).isEqualTo(4);
      assertThat(logits(model, 1, 2, 3)).containsExactly(before);
    }
  }

  // ---- running
  // -----------------------------------------------------------------------------------

  @Test
  void tokensThatDoNotFitTheModelAreErrors() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint);
        NDManager manager = model.getNDManager().newSubManager()) {
      assertThatThrownBy(() -> logits(model, 1, 50))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("50")
          .hasMessageContaining("position 1");
      assertThatThrownBy(() -> logits(model, -1)).isInstanceOf(InvalidInputException.class);
      assertThatThrownBy(() -> logits(model, new long[65]))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("65")
          .hasMessageContaining("64");
      ParameterStore store = new ParameterStore(manager, false);
      assertThatThrownBy(
              () ->
                  model
                      .getBlock()
                      .forward(store, new NDList(manager.create(new long[] {1})), false))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("[sequences, length]");
      assertThatThrownBy(
              () ->
                  model.getBlock().forward(store, new NDList(manager.ones(new Shape(1, 2))), false))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("int64");
      assertThatThrownBy(
              () ->
                  model
                      .getBlock()
                      .forward(
                          store, new NDList(manager.zeros(new Shape(1, 0), DataType.INT64)), false))
          .isInstanceOf(InvalidInputException.class);
      NDArray ids = manager.create(new long[] {1, 2}, new Shape(1, 2));
      assertThatThrownBy(() -> model.getBlock().forward(store, new NDList(ids, ids), false))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("one array");
      assertThatThrownBy(() -> ((MoeDecoder) model.getBlock()).newCache(-1))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("-1");
    }
  }

  @Test
  void aHooksImpossibleDecisionsAreErrors() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    TokenSequences sequences = TokenSequences.of(new long[][] {{1, 2}});
    Map<RoutingDecision, String> bad =
        Map.of(
            RoutingDecision.of(2, new int[] {0, 1}, new float[2]), "1 tokens",
            RoutingDecision.of(2, new int[] {0, 1, 2, 4}, new float[4]), "expert 4",
            RoutingDecision.of(2, new int[] {0, 1, 2, -2}, new float[4]), "expert -2",
            RoutingDecision.of(2, new int[] {0, 1, 2, 2}, new float[4]), "already");
    try (Model model = load(checkpoint)) {
      bad.forEach(
          (wrong, message) ->
              assertThatThrownBy(
                      () ->
                          MoeModel.of(model)
                              .forward(
                                  sequences,
                                  new ForwardObserver() {
                                    @Override
                                    public RoutingDecision onRouting(
                                        MoeLayerView layer,
                                        float[] logits,
                                        RoutingDecision decision) {
                                      return wrong;
                                    }
                                  }))
                  .isInstanceOf(InvalidInputException.class)
                  .hasMessageContaining(message));
    }
  }

  @Test
  void aDeviceThatIsNotThereIsAnError() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    assertThatThrownBy(() -> MoeModels.load(checkpoint, Device.gpu(99)))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("gpu(99)");
  }

  @Test
  void generationRefusesPromptsThatDoNotFit() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      Generator generator = Generator.of(model).withEndTokens(Set.of());
      assertThatThrownBy(() -> generator.generate(new long[0], 5))
          .isInstanceOf(InvalidInputException.class);
      assertThatThrownBy(() -> generator.generate(new long[65], 5))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("65");
      assertThatThrownBy(() -> generator.generate(new long[] {1}, 0))
          .isInstanceOf(InvalidInputException.class);
      assertThat(generator.generate(new long[60], 100)).hasSize(4);
      long first = generator.generate(new long[] {1}, 1)[0];
      assertThat(generator.withEndTokens(Set.of(first)).generate(new long[] {1}, 5))
          .containsExactly(first);
      Thread.currentThread().interrupt();
      assertThatThrownBy(() -> generator.generate(new long[] {1}, 5))
          .isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  @Test
  void retainingFewerExpertsGivesMappedMemoryBack() throws Exception {
    assumeTrue(Files.isReadable(Path.of("/proc/self/status")));
    Path checkpoint =
        new RandomCheckpoint()
            .type(TensorType.BF16)
            .set("hidden_size", 256)
            .set("intermediate_size", 4096)
            .set("num_local_experts", 8)
            .write(folder.resolve("model"));
    long expertBytes = 3L * 256 * 4096 * 2;
    try (Model model = MoeModels.load(checkpoint, Device.cpu())) {
      logits(model, LongStream.range(0, 40).toArray());
      long before = resident("RssFile:");
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 1));
      assertThat(before - resident("RssFile:"))
          .as("bytes given back of %d", 2 * 6 * expertBytes)
          .isGreaterThan(2 * 6 * expertBytes / 2);
      assertThat(logits(model, 1, 2, 3)).hasSize(150);
    }
  }

  private static long resident(String field) throws Exception {
    return Files.readAllLines(Path.of("/proc/self/status")).stream()
        .filter(line -> line.startsWith(field))
        .mapToLong(line -> 1024 * Long.parseLong(line.replaceAll("\\D", "")))
        .sum();
  }

  @Test
  void anOrdinaryPredictorRunsTheModel() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint);
        Predictor<NDList, NDList> predictor = model.newPredictor(new NoopTranslator());
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(new int[] {1, 2, 3}, new Shape(1, 3));
      try (NDArray output = predictor.predict(new NDList(ids)).singletonOrThrow()) {
        assertThat(output.getShape()).isEqualTo(new Shape(1, 3, 50));
        assertThat(output.toFloatArray()).containsExactly(logits(model, 1, 2, 3));
      }
      assertThat(model.getModelPath()).isEqualTo(checkpoint);
      assertThat(model.getName()).isEqualTo("model");
      assertThat(model.getBlock().getOutputShapes(new Shape[] {new Shape(2, 7)}))
          .containsExactly(new Shape(2, 7, 50));
    }
  }

  @Test
  void theOutputOfALayerIsTheWeightedSumOfItsExperts() throws Exception {
    Path checkpoint =
        new RandomCheckpoint().set("num_hidden_layers", 1).write(folder.resolve("model"));
    TokenSequences sequences = TokenSequences.of(new long[][] {{1, 2, 3, 4, 5}});
    for (DataType type : new DataType[] {DataType.FLOAT32, DataType.BFLOAT16}) {
      try (Model model =
          MoeModels.loader(checkpoint).optDevice(Device.cpu()).optDataType(type).load()) {
        Map<String, float[]> seen = new HashMap<>();
        MoeModel.of(model)
            .forward(
                sequences,
                new ForwardObserver() {
                  @Override
                  public boolean onInput(MoeLayerView layer, NDArray hidden) {
                    assertThat(hidden.getDataType()).isEqualTo(DataType.FLOAT32);
                    assertThat(hidden.getShape()).isEqualTo(new Shape(5, 16));
                    try (NDArray logits = layer.routerLogits(hidden)) {
                      seen.put("logits", logits.toFloatArray());
                    }
                    for (int expert = 0; expert < 4; expert++) {
                      try (NDArray output = layer.expertOutput(expert, hidden)) {
                        assertThat(output.getDataType()).isEqualTo(DataType.FLOAT32);
                        seen.put("expert" + expert, output.toFloatArray());
                      }
                    }
                    return true;
                  }

                  @Override
                  public RoutingDecision onRouting(
                      MoeLayerView layer, float[] logits, RoutingDecision decision) {
                    assertThat(logits).containsExactly(seen.get("logits"), within(1e-6f));
                    seen.put("weights", decision.weights());
                    return decision;
                  }
                });
        assertThat(seen).containsKeys("weights", "expert3");
      }
    }
  }

  @Test
  void anObserverMayEndThePassAndChangeTheRouting() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    TokenSequences sequences = TokenSequences.of(new long[][] {{1, 2, 3}});
    try (Model model = load(checkpoint);
        Model pruned = float32(checkpoint).optRetained(Fixtures.everywhere(2, 0, 1)).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      List<Integer> seen = new ArrayList<>();
      MoeModel.of(model)
          .forward(
              sequences,
              new ForwardObserver() {
                @Override
                public boolean onInput(MoeLayerView layer, NDArray hidden) {
                  seen.add(layer.layerIndex());
                  return false;
                }
              });
      assertThat(seen).containsExactly(0);

      ForwardObserver firstTwo =
          new ForwardObserver() {
            @Override
            public RoutingDecision onRouting(
                MoeLayerView layer, float[] logits, RoutingDecision decision) {
              float[] columns = new float[decision.tokens() * 2];
              for (int i = 0; i < columns.length; i++) {
                columns[i] = logits[i / 2 * 4 + i % 2];
              }
              return layer.routing().route(columns, 2);
            }
          };
      NDArray ids = manager.create(new long[] {1, 2, 3}, new Shape(1, 3));
      assertThat(((MoeDecoder) model.getBlock()).logits(ids, firstTwo).toFloatArray())
          // The weights lie at other addresses, by which MKL rounds differently.
          .containsExactly(logits(pruned, 1, 2, 3), within(1e-5f));
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @CsvSource({"true", "false"})
  void anExpertThatIsSkippedAddsNothing(boolean fused) throws Exception {
    Path checkpoint =
        new RandomCheckpoint().set("num_hidden_layers", 1).write(folder.resolve("model"));
    ForwardObserver onlyFirst =
        new ForwardObserver() {
          @Override
          public RoutingDecision onRouting(
              MoeLayerView layer, float[] logits, RoutingDecision decision) {
            int[] experts = decision.experts();
            float[] weights = decision.weights();
            for (int i = 1; i < experts.length; i += 2) {
              experts[i] = RoutingDecision.NONE;
            }
            return RoutingDecision.of(2, experts, weights);
          }
        };
    ForwardObserver zeroSecond =
        new ForwardObserver() {
          @Override
          public RoutingDecision onRouting(
              MoeLayerView layer, float[] logits, RoutingDecision decision) {
            float[] weights = decision.weights();
            for (int i = 1; i < weights.length; i += 2) {
              weights[i] = 0;
            }
            return RoutingDecision.of(2, decision.experts(), weights);
          }
        };
    try (Model model = float32(checkpoint).optFused(fused).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      MoeDecoder decoder = (MoeDecoder) model.getBlock();
      for (long[] ids : new long[][] {{1, 2, 3, 4}, {5}}) {
        NDArray input = manager.create(ids, new Shape(1, ids.length));
        assertThat(decoder.logits(input, onlyFirst).toFloatArray())
            .containsExactly(decoder.logits(input, zeroSecond).toFloatArray(), within(1e-6f));
      }
    }
  }

  @Test
  void severalThreadsComputeWhatOneComputes() throws Exception {
    try (Model model = MoeModels.load(Fixtures.TINY_MIXTRAL, Device.cpu())) {
      List<float[]> expected =
          IntStream.range(0, 8).mapToObj(i -> logits(model, i, i + 1, i + 2)).toList();
      IntStream.range(0, 200)
          .parallel()
          .forEach(
              i ->
                  assertThat(logits(model, i % 8, i % 8 + 1, i % 8 + 2))
                      .isEqualTo(expected.get(i % 8)));
    }
  }

  // ---- training
  // ----------------------------------------------------------------------------------

  @Test
  void theFloat32ModelCanBeTrained() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    DefaultTrainingConfig config =
        new DefaultTrainingConfig(new SoftmaxCrossEntropyLoss("loss", 1, -1, true, true))
            .optOptimizer(Optimizer.adam().optLearningRateTracker(Tracker.fixed(0.01f)).build())
            .optDevices(new Device[] {Device.cpu()});
    try (Model model = load(checkpoint);
        Trainer trainer = model.newTrainer(config);
        NDManager manager = model.getNDManager().newSubManager()) {
      trainer.initialize(new Shape(2, 6));
      NDArray ids =
          manager.create(new long[] {1, 2, 3, 4, 5, 6, 9, 8, 7, 6, 5, 4}, new Shape(2, 6));
      NDArray labels = manager.create(new long[] {2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3});
      List<Float> losses = new ArrayList<>();
      for (int step = 0; step < 60; step++) {
        try (NDManager scratch = manager.newSubManager();
            GradientCollector collector = trainer.newGradientCollector()) {
          NDArray logits = trainer.forward(new NDList(ids)).singletonOrThrow().reshape(12, 50);
          logits.attach(scratch);
          NDArray loss = trainer.getLoss().evaluate(new NDList(labels), new NDList(logits));
          loss.attach(scratch);
          collector.backward(loss);
          losses.add(loss.getFloat());
        }
        if (step == 0) {
          Map<String, Float> gradients = new HashMap<>();
          for (Parameter parameter : model.getBlock().getParameters().values()) {
            try (NDArray gradient = parameter.getArray().getGradient();
                NDArray sum = gradient.abs().sum()) {
              gradients.put(parameter.getName(), sum.getFloat());
            }
          }
          assertThat(gradients).hasSize(3 + 2 * (5 + 2 + 4 * 3));
          assertThat(gradients.get("model.layers.0.block_sparse_moe.gate.weight")).isPositive();
          assertThat(gradients.get("model.layers.0.self_attn.k_proj.weight")).isPositive();
          assertThat(gradients.get("model.embed_tokens.weight")).isPositive();
          assertThat(
                  gradients.entrySet().stream()
                      .filter(entry -> entry.getKey().contains(".w2.") && entry.getValue() > 0))
              .hasSizeGreaterThan(2);
        }
        trainer.step();
      }
      assertThat(losses.get(59)).isLessThan(losses.get(0) / 10);
      // Inference sees the trained weights.
      float[] fused = logits(model, 1, 2, 3);
      int best = 0;
      for (int i = 0; i < 50; i++) {
        best = fused[100 + i] > fused[100 + best] ? i : best;
      }
      assertThat(best).isEqualTo(4);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = TensorType.class,
      names = {"F32", "F16", "BF16"})
  void aTrainedModelIsSavedAsItIsNow(TensorType type) throws Exception {
    Path checkpoint = new RandomCheckpoint().type(type).write(folder.resolve("model"));
    Path target = folder.resolve("trained");
    float[] before;
    float[] expected;
    try (Model model = load(checkpoint);
        NDManager manager = model.getNDManager().newSubManager()) {
      before = logits(model, 1, 2, 3);
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(1, 2, 3));
      NDArray ids = manager.create(new long[] {1, 2}, new Shape(1, 2));
      model.getBlock().forward(new ParameterStore(manager, false), new NDList(ids), true);
      for (Parameter parameter : model.getBlock().getParameters().values()) {
        parameter.getArray().setRequiresGradient(false);
        parameter.getArray().muli(0.5f); // Exact in every type.
      }
      expected = logits(model, 1, 2, 3);
      MoeModels.save(model, target);
    }
    assertThat(expected).isNotEqualTo(before);
    assertThat(Checkpoint.open(target).tensor("lm_head.weight").type()).isEqualTo(type);
    try (Model model = load(target)) {
      assertThat(MoeModel.of(model).moeLayers().get(0).numExperts()).isEqualTo(3);
      assertThat(logits(model, 1, 2, 3)).containsExactly(expected, within(1e-4f));
    }
  }

  @Test
  void trainingAndReferenceInferenceAgreeWithTheFusedModel() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint);
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(new long[] {1, 2, 3, 4}, new Shape(1, 4));
      ParameterStore store = new ParameterStore(manager, false);
      float[] trained =
          model.getBlock().forward(store, new NDList(ids), true).singletonOrThrow().toFloatArray();
      assertThat(trained).containsExactly(logits(model, 1, 2, 3, 4), within(1e-4f));
    }
    try (Model model =
            MoeModels.loader(checkpoint)
                .optDevice(Device.cpu())
                .optDataType(DataType.BFLOAT16)
                .load();
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(new long[] {1, 2}, new Shape(1, 2));
      assertThatThrownBy(
              () ->
                  model
                      .getBlock()
                      .forward(new ParameterStore(manager, false), new NDList(ids), true))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("FLOAT32");
      assertThat(model.getBlock().getParameters().isEmpty()).isTrue();
    }
  }

  @Test
  void aSingleLayerIsADjlBlockToo() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    for (boolean training : new boolean[] {true, false}) {
      try (Model model = load(checkpoint);
          NDManager manager = model.getNDManager().newSubManager()) {
        NDArray hidden = manager.randomNormal(new Shape(2, 3, 16));
        NDArray output =
            model
                .getBlock()
                .getChildren()
                .values()
                .get(0)
                .forward(new ParameterStore(manager, false), new NDList(hidden), training)
                .singletonOrThrow();
        assertThat(output.getShape()).isEqualTo(new Shape(2, 3, 16));
        assertThat(output.toFloatArray()).isNotEqualTo(hidden.toFloatArray());
      }
    }
  }

  // ---- writing
  // -----------------------------------------------------------------------------------

  @Test
  void aSavedModelHoldsTheSameBytesUnderNewNumbers() throws Exception {
    Path checkpoint = new RandomCheckpoint().type(TensorType.BF16).write(folder.resolve("model"));
    Path target = folder.resolve("pruned");
    float[] expected;
    try (Model model = load(checkpoint)) {
      MoeModel.of(model).moeLayers().get(0).retain(1, 2, 3);
      MoeModel.of(model).moeLayers().get(0).retain(0, 2);
      MoeModel.of(model).moeLayers().get(1).retain(0, 2);
      MoeModel.of(model).recordProvenance(new Provenance("by hand", null, 7, "somewhere"));
      expected = logits(model, 1, 2, 3);
      MoeModels.save(model, target);
    }
    Checkpoint source = Checkpoint.open(checkpoint);
    Checkpoint written = Checkpoint.open(target);
    assertThat(bytes(written, "model.layers.0.block_sparse_moe.experts.1.w2.weight"))
        .isEqualTo(bytes(source, "model.layers.0.block_sparse_moe.experts.3.w2.weight"));
    assertThat(bytes(written, "lm_head.weight")).isEqualTo(bytes(source, "lm_head.weight"));
    byte[] gate = bytes(source, "model.layers.0.block_sparse_moe.gate.weight");
    byte[] rows = bytes(written, "model.layers.0.block_sparse_moe.gate.weight");
    assertThat(rows).startsWith(Arrays.copyOfRange(gate, 32, 64));
    assertThat(rows).endsWith(Arrays.copyOfRange(gate, 96, 128));
    JsonObject config = written.config().json();
    assertThat(config.get("num_local_experts").getAsInt()).isEqualTo(2);
    JsonObject winnow = config.getAsJsonObject("winnow");
    assertThat(winnow.get("method").getAsString()).isEqualTo("by hand");
    assertThat(winnow.get("seed").getAsInt()).isEqualTo(7);
    assertThat(winnow.get("version").getAsString()).matches("\\d+\\.\\d+\\.\\d+.*");
    assertThat(winnow.get("source").getAsString()).isEqualTo(source.digest());
    assertThat(winnow.get("retained")).hasToString("{\"0\":[1,3],\"1\":[0,2]}");
    config.remove("winnow");
    config.addProperty("num_local_experts", 4);
    assertThat(config).isEqualTo(source.config().json());
    try (Model model = load(target)) {
      assertThat(logits(model, 1, 2, 3)).containsExactly(expected);
      MoeModels.save(model, folder.resolve("again"));
    }
    JsonObject again = Checkpoint.open(folder.resolve("again")).config().json();
    assertThat(again.getAsJsonObject("winnow").getAsJsonObject("previous")).isEqualTo(winnow);
  }

  private static byte[] bytes(Checkpoint checkpoint, String name) throws Exception {
    TensorInfo info = checkpoint.tensor(name);
    ByteBuffer buffer = SafetensorsFile.open(info.file()).read(name);
    byte[] bytes = new byte[buffer.remaining()];
    buffer.get(bytes);
    return bytes;
  }

  @Test
  void savingOverAFolderIsRefused() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      assertThatThrownBy(() -> MoeModels.save(model, checkpoint))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("exists");
    }
    try (Model other = Model.newInstance("other", Device.cpu(), "PyTorch")) {
      assertThatThrownBy(() -> MoeModels.save(other, folder.resolve("out")))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("other")
          .hasMessageContaining("MoeModels.load");
    }
  }

  @Test
  void djlsOwnFormatIsRefused() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      assertThatThrownBy(() -> model.save(folder.resolve("djl"), "model"))
          .isInstanceOf(UnsupportedOperationException.class)
          .hasMessageContaining("MoeModels.save");
      assertThatThrownBy(() -> model.getBlock().loadParameters(model.getNDManager(), null))
          .isInstanceOf(UnsupportedOperationException.class)
          .hasMessageContaining("MoeModels.load");
    }
  }

  @Test
  void plainOperationsAreForFloat32() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    assertThatThrownBy(
            () ->
                MoeModels.loader(checkpoint)
                    .optDevice(Device.cpu())
                    .optDataType(DataType.BFLOAT16)
                    .optFused(false)
                    .load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("float32");
    assertThatThrownBy(
            () ->
                MoeModels.loader(checkpoint)
                    .optDevice(Device.cpu())
                    .optDataType(DataType.INT8)
                    .load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("int8");
  }

  // ---- end tokens
  // --------------------------------------------------------------------------------

  @Test
  void endTokensComeFromTheGenerationConfigurationOrElseFromTheModels() throws Exception {
    Path checkpoint = new RandomCheckpoint().set("eos_token_id", 2).write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      MoeDecoder decoder = (MoeDecoder) model.getBlock();
      assertThat(decoder.endTokens()).containsExactly(2L);
      Path file = checkpoint.resolve("generation_config.json");
      Files.writeString(file, "{\"eos_token_id\": [3, 4]}");
      assertThat(decoder.endTokens()).containsExactlyInAnyOrder(3L, 4L);
      Files.writeString(file, "{\"eos_token_id\": null}");
      assertThat(decoder.endTokens()).containsExactly(2L);
      Files.writeString(file, "{\"eos_token_id\": \"two\"}");
      assertThatThrownBy(decoder::endTokens)
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("two");
      Files.writeString(file, "[]");
      assertThatThrownBy(decoder::endTokens).isInstanceOf(InvalidInputException.class);
      Files.writeString(file, "{");
      assertThatThrownBy(decoder::endTokens).isInstanceOf(InvalidInputException.class);
    }
  }
}
