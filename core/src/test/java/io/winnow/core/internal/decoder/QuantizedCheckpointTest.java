package io.winnow.core.internal.decoder;

import static io.winnow.core.LoadedModels.load;
import static io.winnow.core.LoadedModels.retained;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.ParameterStore;
import com.google.common.primitives.Ints;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.ExpertMerge;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LoadedModels;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.QuantizedFixtures;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Checkpoints in MXFP4 and FP8: computed as what they mean, pruned as the bytes that they are. */
class QuantizedCheckpointTest {
  private static final Provenance PROVENANCE = new Provenance("test", null, 0, null);

  @TempDir Path folder;

  /** Blocks of FP8 that cut the matrices' last rows and columns. */
  private static Path quantized(String family, Path source, Path target) throws IOException {
    return family.equals("gpt_oss")
        ? QuantizedFixtures.mxfp4(source, target)
        : QuantizedFixtures.fp8(source, target, 24, 40);
  }

  private Path quantized(String family) throws IOException {
    return quantized(family, Fixtures.golden(family), folder.resolve("quantized"));
  }

  private static float[] logits(Model model, String family) {
    TokenSequences tokens =
        Fixtures.tokens(Fixtures.golden(family).resolve("golden.safetensors"), "input_ids");
    return LoadedModels.logits(model, tokens);
  }

  private static double greatestDifference(float[] actual, float[] expected) {
    assertThat(actual).hasSameSizeAs(expected);
    double worst = 0;
    for (int i = 0; i < actual.length; i++) {
      double difference = Math.abs((double) actual[i] - expected[i]);
      worst = difference <= worst ? worst : difference;
    }
    return worst;
  }

  @ParameterizedTest(name = "{0}, fused = {1}")
  @CsvSource({"gpt_oss, true", "gpt_oss, false", "deepseek_v3, true", "deepseek_v3, false"})
  void logitsAndTextAreThoseOfWhatTheBytesMean(String family, boolean fused) throws Exception {
    Path quantized = quantized(family);
    Path plain = QuantizedFixtures.dequantized(quantized, folder.resolve("plain"));
    try (Model model = load(quantized, DataType.FLOAT32, fused);
        Model reference = load(plain, DataType.FLOAT32, fused);
        Model original = load(Fixtures.golden(family), DataType.FLOAT32, fused)) {
      float[] logits = logits(model, family);
      assertThat(greatestDifference(logits, logits(reference, family))).isLessThan(1e-5);
      // Else the quantised weights were not looked at.
      assertThat(greatestDifference(logits, logits(original, family))).isGreaterThan(1e-3);
      long[] prompt = {5, 17, 3, 99};
      assertThat(Generator.of(model).withEndTokens(Set.of()).generate(prompt, 8))
          .isEqualTo(Generator.of(reference).withEndTokens(Set.of()).generate(prompt, 8));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt_oss", "deepseek_v3"})
  void narrowTypesAreRoundedFromWhatTheBytesMean(String family) throws Exception {
    Path quantized = quantized(family);
    Path plain = QuantizedFixtures.dequantized(quantized, folder.resolve("plain"));
    for (DataType type : List.of(DataType.BFLOAT16, DataType.FLOAT16)) {
      try (Model model = load(quantized, type, true);
          Model reference = load(plain, type, true)) {
        assertThat(greatestDifference(logits(model, family), logits(reference, family)))
            .as(type.toString())
            .isLessThan(1e-2);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt_oss", "deepseek_v3"})
  void theTypeToComputeInIsThatOfTheEmbedding(String family) throws Exception {
    try (Model model = MoeModels.load(quantized(family), Device.cpu())) {
      assertThat(model.getDataType()).isEqualTo(DataType.FLOAT32);
    }
  }

  /** Blocks do not go over experts, so that the order of pruning and quantising does not matter. */
  @ParameterizedTest
  @ValueSource(strings = {"gpt_oss", "deepseek_v3"})
  void aPrunedFolderHasTheQuantisedBytesOfTheKeptExperts(String family) throws Exception {
    Path quantized = quantized(family);
    Path pruned = folder.resolve("pruned");
    MoeModels.writePruned(quantized, retained(family), PROVENANCE, pruned, null);
    Path plain = folder.resolve("plain");
    MoeModels.writePruned(Fixtures.golden(family), retained(family), PROVENANCE, plain, null);
    Path expected = quantized(family, plain, folder.resolve("expected"));
    Map<String, TensorInfo> written = Checkpoint.open(pruned).tensors();
    Map<String, TensorInfo> wanted = Checkpoint.open(expected).tensors();
    assertThat(written.keySet()).isEqualTo(wanted.keySet());
    written.forEach(
        (name, info) -> {
          assertThat(info.type()).as(name).isEqualTo(wanted.get(name).type());
          assertThat(info.shape()).as(name).isEqualTo(wanted.get(name).shape());
          assertThat(QuantizedFixtures.bytes(info))
              .as(name)
              .isEqualTo(QuantizedFixtures.bytes(wanted.get(name)));
        });
    assertThat(config(pruned).get("quantization_config"))
        .isEqualTo(config(quantized).get("quantization_config"));
    Path reference = QuantizedFixtures.dequantized(pruned, folder.resolve("reference"));
    try (Model model = load(pruned, DataType.FLOAT32, true);
        Model meant = load(reference, DataType.FLOAT32, true);
        Model some =
            MoeModels.loader(quantized)
                .optDevice(Device.cpu())
                .optDataType(DataType.FLOAT32)
                .optRetained(retained(family))
                .load()) {
      float[] logits = logits(model, family);
      assertThat(greatestDifference(logits, logits(meant, family))).isLessThan(1e-5);
      assertThat(logits(some, family)).isEqualTo(logits);
    }
  }

  @ParameterizedTest
  @CsvSource({"gpt_oss, FLOAT32", "gpt_oss, BFLOAT16", "deepseek_v3, BFLOAT16"})
  void aRunningModelThatLostExpertsIsWrittenWithTheQuantisedBytes(String family, DataType type)
      throws Exception {
    Path quantized = quantized(family);
    Map<Integer, List<Integer>> retained = retained(family);
    Path pruned = folder.resolve("pruned");
    MoeModels.writePruned(quantized, retained, PROVENANCE, pruned, null);
    Path saved = folder.resolve("saved");
    try (Model model = load(quantized, type, true)) {
      MoeModel.of(model)
          .moeLayers()
          .forEach(layer -> layer.retain(Ints.toArray(retained.get(layer.layerIndex()))));
      float[] logits = logits(model, family);
      MoeModels.save(model, saved);
      try (Model written = load(saved, type, true)) {
        assertThat(logits(written, family)).isEqualTo(logits);
      }
    }
    assertThat(saved.resolve("model.safetensors"))
        .hasSameBinaryContentAs(pruned.resolve("model.safetensors"));
  }

  @Test
  void someMatricesOfAnExpertMayBePlain() throws Exception {
    Path quantized = quantized("deepseek_v3");
    Path plain = QuantizedFixtures.dequantized(quantized, folder.resolve("plain"));
    Map<String, TensorInfo> meant = Checkpoint.open(plain).tensors();
    String name = "model.layers.1.mlp.experts.0.up_proj.weight";
    Path mixed =
        changed(
            quantized,
            tensors -> {
              tensors.removeIf(tensor -> tensor.name().startsWith(name));
              tensors.add(OutputTensor.copyOf(meant.get(name)));
            });
    Path pruned = folder.resolve("pruned");
    Map<Integer, List<Integer>> retained =
        Map.of(1, List.of(1, 2, 4, 5, 7, 8, 10, 11), 2, List.of(0, 1, 3, 4, 6, 7, 9, 10));
    MoeModels.writePruned(mixed, retained, PROVENANCE, pruned, null);
    // Expert 1 is the first now, and in FP8.
    Map<String, TensorInfo> written = Checkpoint.open(pruned).tensors();
    assertThat(written.get(name).type()).isEqualTo(TensorType.F8_E4M3);
    assertThat(written).containsKey(name + "_scale_inv");
    try (Model model = load(mixed, DataType.FLOAT32, true);
        Model reference = load(plain, DataType.FLOAT32, true)) {
      assertThat(greatestDifference(logits(model, "deepseek_v3"), logits(reference, "deepseek_v3")))
          .isLessThan(1e-5);
    }
  }

  @Test
  void mergedExpertsAreWrittenUnquantisedAndTheOthersAsTheyAre() throws Exception {
    Path quantized = quantized("qwen3_moe");
    int experts = config(quantized).get("num_local_experts").getAsInt();
    double[][] matrix = new double[experts - 1][experts];
    for (int row = 0; row < matrix.length; row++) {
      matrix[row][row] = 1;
    }
    matrix[1][experts - 1] = 0.5;
    Path saved = folder.resolve("saved");
    try (Model model = load(quantized, DataType.FLOAT32, true)) {
      for (var layer : MoeModel.of(model).moeLayers()) {
        ((MergeableMoeLayer) layer)
            .applyMerge(ExpertMerge.of(matrix, matrix), layer.routing().topK());
      }
      float[] logits = logits(model, "qwen3_moe");
      MoeModels.save(model, saved);
      try (Model written = load(saved, DataType.FLOAT32, true)) {
        assertThat(greatestDifference(logits(written, "qwen3_moe"), logits)).isLessThan(1e-5);
      }
    }
    Map<String, TensorInfo> written = Checkpoint.open(saved).tensors();
    String prefix = "model.layers.0.mlp.experts.";
    assertThat(written.get(prefix + "0.up_proj.weight").type()).isEqualTo(TensorType.F8_E4M3);
    assertThat(written).containsKey(prefix + "0.up_proj.weight_scale_inv");
    assertThat(written.get(prefix + "1.up_proj.weight").type()).isEqualTo(TensorType.F32);
    assertThat(written).doesNotContainKey(prefix + "1.up_proj.weight_scale_inv");
  }

  @Test
  void quantisedWeightsAreNotTrained() throws Exception {
    try (Model model = load(quantized("qwen3_moe"), DataType.FLOAT32, true);
        NDManager manager = model.getNDManager().newSubManager()) {
      NDList ids = new NDList(manager.create(new long[][] {{1, 2, 3}}));
      ParameterStore store = new ParameterStore(manager, false);
      assertThatThrownBy(() -> model.getBlock().forward(store, ids, true))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("fp8");
    }
  }

  private static JsonObject config(Path folder) throws IOException {
    return JsonParser.parseString(Files.readString(folder.resolve("config.json")))
        .getAsJsonObject();
  }

  private Path changed(Path source, Consumer<List<OutputTensor>> change) throws IOException {
    List<OutputTensor> tensors = new ArrayList<>();
    Checkpoint.open(source).tensors().values().stream()
        .map(OutputTensor::copyOf)
        .forEach(tensors::add);
    change.accept(tensors);
    return QuantizedFixtures.write(folder.resolve("changed"), config(source), tensors);
  }

  private static void replace(
      List<OutputTensor> tensors, String name, TensorType type, Long... shape) {
    assertThat(tensors.removeIf(tensor -> tensor.name().equals(name))).isTrue();
    long elements = 1;
    for (long dimension : shape) {
      elements *= dimension;
    }
    byte[] content = new byte[(int) elements * type.bytes()];
    tensors.add(QuantizedFixtures.bytes(name, type, List.of(shape), content));
  }

  private static final String BLOCKS = "model.layers.1.mlp.experts.down_proj_blocks";
  private static final String SCALES = "model.layers.1.mlp.experts.down_proj_scales";
  private static final String WEIGHT = "model.layers.2.mlp.experts.3.down_proj.weight";
  private static final String SCALE_INV = WEIGHT + "_scale_inv";

  static Stream<Arguments> damages() {
    Consumer<List<OutputTensor>> noScales =
        tensors -> tensors.removeIf(tensor -> tensor.name().equals(SCALES));
    Consumer<List<OutputTensor>> noScaleInv =
        tensors -> tensors.removeIf(tensor -> tensor.name().equals(SCALE_INV));
    return Stream.of(
        damage("gpt_oss", SCALES, noScales),
        damage("deepseek_v3", SCALE_INV, noScaleInv),
        damage("gpt_oss", BLOCKS, t -> replace(t, BLOCKS, TensorType.U8, 8L, 64L, 1L, 8L)),
        damage("gpt_oss", BLOCKS, t -> replace(t, BLOCKS, TensorType.I8, 8L, 64L, 1L, 16L)),
        damage("gpt_oss", SCALES, t -> replace(t, SCALES, TensorType.U8, 8L, 64L)),
        damage("gpt_oss", SCALES, t -> replace(t, SCALES, TensorType.F32, 8L, 64L, 1L)),
        damage(
            "gpt_oss",
            "has both",
            t ->
                t.add(
                    OutputTensor.ofFloats(
                        "model.layers.0.mlp.experts.down_proj", List.of(1L), new float[1]))),
        damage("deepseek_v3", SCALE_INV, t -> replace(t, SCALE_INV, TensorType.F32, 1L, 1L)),
        damage("deepseek_v3", SCALE_INV, t -> replace(t, SCALE_INV, TensorType.U8, 3L, 1L)),
        damage("deepseek_v3", "yet has scales", t -> replace(t, WEIGHT, TensorType.F32, 64L, 16L)),
        damage("deepseek_v3", "F8_E5M2", t -> replace(t, WEIGHT, TensorType.F8_E5M2, 64L, 16L)),
        damage(
            "deepseek_v3",
            "F8_E4M3",
            t -> replace(t, "lm_head.weight", TensorType.F8_E4M3, 128L, 64L)));
  }

  private static Arguments damage(
      String family, String message, Consumer<List<OutputTensor>> change) {
    return Arguments.of(family, message, change);
  }

  @ParameterizedTest(name = "{0}: {1}")
  @MethodSource("damages")
  void whatDoesNotFitIsRefusedBeforeAnythingIsReadOrWritten(
      String family, String message, Consumer<List<OutputTensor>> change) throws Exception {
    Path damaged = changed(quantized(family), change);
    Path target = folder.resolve("pruned");
    assertThatThrownBy(() -> load(damaged, DataType.FLOAT32, true))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
    assertThatThrownBy(
            () -> MoeModels.writePruned(damaged, retained(family), PROVENANCE, target, null))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
    assertThat(target).doesNotExist();
  }

  static Stream<Arguments> otherMethods() {
    return Stream.of(
        Arguments.of("llama4", "quantization_config", "compressed-tensors", null, null),
        Arguments.of("llama4", "compression_config", "compressed-tensors", null, null),
        Arguments.of("llama4", "quantization_config", "fbgemm_fp8", null, null),
        Arguments.of("mixtral", "quantization_config", "awq", null, null),
        Arguments.of("mixtral", "quantization_config", "mxfp4", null, null),
        Arguments.of("llama4", "quantization_config", "fp8", null, null),
        Arguments.of("qwen3_moe", "quantization_config", "fp8", "weight_block_size", "null"),
        Arguments.of("qwen3_moe", "quantization_config", "fp8", "weight_block_size", "[0, 128]"),
        Arguments.of("qwen3_moe", "quantization_config", "fp8", "activation_scheme", "\"static\""));
  }

  @ParameterizedTest(name = "{0}: {2} {3} {4}")
  @MethodSource("otherMethods")
  void anotherMethodIsRefusedByItsName(
      String family, String object, String method, String field, String value) throws Exception {
    JsonObject config = config(Fixtures.golden(family));
    JsonObject quantization = new JsonObject();
    quantization.addProperty("quant_method", method);
    quantization.add("weight_block_size", JsonParser.parseString("[128, 128]"));
    if (field != null) {
      quantization.add(field, JsonParser.parseString(value));
    }
    config.add(object, quantization);
    Path other = Files.createDirectories(folder.resolve("other"));
    Files.copy(
        Fixtures.golden(family).resolve("model.safetensors"), other.resolve("model.safetensors"));
    Files.writeString(other.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> load(other, DataType.FLOAT32, true))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("'" + method + "'")
        .hasMessageContaining(field == null ? object : field);
  }

  @Test
  void blocksNeedTheirMethodInTheConfiguration() throws Exception {
    Path quantized = quantized("gpt_oss");
    JsonObject config = config(quantized);
    config.remove("quantization_config");
    Files.writeString(quantized.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> load(quantized, DataType.FLOAT32, true))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("does not say 'mxfp4'");
  }

  @Test
  void aConfigurationWithoutQuantisationMaySaySo() throws Exception {
    JsonObject config = config(Fixtures.golden("mixtral"));
    config.add("quantization_config", JsonNull.INSTANCE);
    Path other = Files.createDirectories(folder.resolve("other"));
    Files.copy(
        Fixtures.golden("mixtral").resolve("model.safetensors"),
        other.resolve("model.safetensors"));
    Files.writeString(other.resolve("config.json"), config.toString());
    try (Model model = load(other, DataType.FLOAT32, true)) {
      assertThat(MoeModel.of(model).moeLayers()).isNotEmpty();
    }
  }
}
