package io.winnow.core.model;

import static io.winnow.core.LoadedModels.float32;
import static io.winnow.core.LoadedModels.last;
import static io.winnow.core.LoadedModels.load;
import static io.winnow.core.LoadedModels.logits;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.safetensors.OutputTensor;
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
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** What is read of checkpoints, and what is refused. */
class ModelReadingTest {
  @TempDir private Path folder;

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
}
