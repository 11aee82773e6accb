package io.winnow.core.internal.decoder;

import static io.winnow.core.FamilyFixtures.golden;
import static io.winnow.core.FamilyFixtures.inputs;
import static io.winnow.core.LoadedModels.assertClose;
import static io.winnow.core.LoadedModels.ids;
import static io.winnow.core.LoadedModels.loader;
import static io.winnow.core.LoadedModels.logits;
import static io.winnow.core.LoadedModels.pruned;
import static io.winnow.core.LoadedModels.retained;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import com.google.common.primitives.Ints;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.ExpertMerge;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.checkpoint.Checkpoint;
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
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Every family pruned, viewed layer by layer, in its variants, and where it is refused. */
class FamilyCheckpointTest {
  /** The families with shared experts. */
  private static final Set<String> SHARED =
      Set.of(
          "qwen2_moe",
          "deepseek_v2",
          "deepseek_v3",
          "glm4_moe",
          "ernie4_5_moe",
          "llama4",
          "glm4_moe_lite",
          "dots1",
          "solar_open");

  @TempDir Path folder;

  private static MoeDecoder decoder(Model model) {
    return (MoeDecoder) model.getBlock();
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("io.winnow.core.FamilyFixtures#families")
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
  @MethodSource("io.winnow.core.FamilyFixtures#families")
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
  @MethodSource("io.winnow.core.FamilyFixtures#familiesAndKernels")
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
        if (!SHARED.contains(family)) {
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
  @CsvSource({"deepseek_v2, 3", "deepseek_v3, 3", "glm4_moe, 3", "glm4_moe_lite, 3"})
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
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void olderNamesOfFieldsAreRead(String family) throws Exception {
    Path source = Fixtures.golden(family);
    Path old = Files.createDirectories(folder.resolve("old"));
    Files.copy(source.resolve("model.safetensors"), old.resolve("model.safetensors"));
    JsonObject config =
        JsonParser.parseString(Files.readString(source.resolve("config.json"))).getAsJsonObject();
    // What is rotated otherwise layer by layer never had older names.
    if (!family.equals("mellum")) {
      renameRotary(config);
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

  private static void renameRotary(JsonObject config) {
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
  }

  /** The same model by the words of the hub's config.json, where they differ. */
  @Test
  void theHubsConfigurationIsRead() throws Exception {
    Path source = Fixtures.golden("glm4_moe_lite");
    Path hub = Files.createDirectories(folder.resolve("hub"));
    Files.copy(source.resolve("model.safetensors"), hub.resolve("model.safetensors"));
    Files.copy(source.resolve("config_hub.json"), hub.resolve("config.json"));
    try (Model model = loader(hub, true).load()) {
      assertClose(
          logits(model, inputs("glm4_moe_lite")),
          golden("glm4_moe_lite").readFloats("logits"),
          "logits");
    }
  }

  /** The part of a head that is rotated, as the hub's config.json of MiniMax-M2 says it. */
  @Test
  void rotatedElementsMayBeCounted() throws Exception {
    Path source = Fixtures.golden("minimax_m2");
    Path hub = Files.createDirectories(folder.resolve("hub"));
    Files.copy(source.resolve("model.safetensors"), hub.resolve("model.safetensors"));
    JsonObject config =
        JsonParser.parseString(Files.readString(source.resolve("config.json"))).getAsJsonObject();
    config.getAsJsonObject("rope_parameters").remove("partial_rotary_factor");
    Files.writeString(hub.resolve("config.json"), config.toString());
    try (Model model = loader(hub, true).load()) {
      assertClose(
          logits(model, inputs("minimax_m2")), golden("minimax_m2").readFloats("logits"), "logits");
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void whatIsNotMergedOrTrainedIsRefusedWithItsReason(String family) {
    boolean single =
        Set.of("mixtral", "qwen3_moe", "olmoe", "flex_olmo", "mellum").contains(family);
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
