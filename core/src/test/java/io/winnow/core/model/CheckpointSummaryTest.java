package io.winnow.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.QuantizedFixtures;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.model.CheckpointSummary.Footprint;
import io.winnow.core.model.CheckpointSummary.Part;
import io.winnow.core.model.CheckpointSummary.Size;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is said of a checkpoint without reading its weights. */
class CheckpointSummaryTest {
  @TempDir Path folder;

  static List<String> families() {
    return FamilyFixtures.FAMILIES;
  }

  private static JsonObject config(Path folder) throws IOException {
    return JsonParser.parseString(Files.readString(folder.resolve("config.json")))
        .getAsJsonObject();
  }

  private static Size sum(Path folder, String pattern) {
    long parameters = 0;
    long bytes = 0;
    for (TensorInfo info : Checkpoint.open(folder).tensors().values()) {
      if (info.name().matches(pattern)) {
        parameters += info.elements();
        bytes += info.length();
      }
    }
    return new Size(parameters, bytes);
  }

  @ParameterizedTest
  @MethodSource("families")
  void thePartsOfEveryFamilyAreAllOfItsTensors(String family) throws Exception {
    Path source = Fixtures.golden(family);
    CheckpointSummary summary = MoeModels.inspect(source);
    Map<Part, Size> parts = summary.parts();
    assertThat(parts).containsOnlyKeys(Part.values());
    assertThat(parts.get(Part.OTHER)).isEqualTo(new Size(0, 0));
    assertThat(summary.total()).isEqualTo(sum(source, ".*"));
    String block = "model\\.layers\\.\\d+\\.(mlp|block_sparse_moe|feed_forward)\\.";
    assertThat(parts.get(Part.EMBEDDING)).isEqualTo(sum(source, "model\\.embed_tokens\\..*"));
    assertThat(parts.get(Part.HEAD)).isEqualTo(sum(source, "lm_head\\..*"));
    assertThat(parts.get(Part.ATTENTION)).isEqualTo(sum(source, ".*\\.self_attn\\..*"));
    assertThat(parts.get(Part.NORMS))
        .isEqualTo(
            sum(
                source,
                "model\\.norm\\..*|model\\.layers\\.\\d+\\.(input|post_attention|post_feedforward)_layer.*"));
    assertThat(parts.get(Part.ROUTER))
        .isEqualTo(sum(source, block + "((gate|router|moe_statics)\\..*|e_score_correction_bias)"));
    assertThat(parts.get(Part.ROUTED_EXPERTS))
        .isEqualTo(sum(source, block + "(experts\\.|input_linear|output_linear).*"));
    assertThat(parts.get(Part.SHARED_EXPERTS)).isEqualTo(sum(source, block + "shared_expert.*"));
    assertThat(parts.get(Part.DENSE_FEED_FORWARD))
        .isEqualTo(sum(source, block + "(gate|up|down)_proj\\..*"));
  }

  @ParameterizedTest
  @MethodSource("families")
  void theNumbersOfExpertsAreThoseOfTheConfiguration(String family) throws Exception {
    Path source = Fixtures.golden(family);
    CheckpointSummary summary = MoeModels.inspect(source);
    JsonObject pruned =
        JsonParser.parseString(Files.readString(source.resolve("pruned.json"))).getAsJsonObject();
    assertThat(summary.modelType()).isEqualTo(config(source).get("model_type").getAsString());
    assertThat(summary.quantization()).isEqualTo("none");
    assertThat(summary.layers()).isEqualTo(config(source).get("num_hidden_layers").getAsInt());
    assertThat(summary.moeLayers()).isEqualTo(pruned.getAsJsonObject("kept").size());
    assertThat(summary.experts()).isEqualTo(pruned.get("experts").getAsInt());
    assertThat(summary.computeType()).isEqualTo("F32");
    assertThat(summary.bytesByType())
        .containsExactlyEntriesOf(Map.of("F32", summary.total().bytes()));
    Size routed = summary.parts().get(Part.ROUTED_EXPERTS);
    assertThat(summary.activeParameters())
        .isEqualTo(
            summary.total().parameters()
                - routed.parameters() / summary.experts() * (summary.experts() - summary.topK())
                - (summary.parts().get(Part.HEAD).bytes() == 0
                    ? 0
                    : summary.parts().get(Part.EMBEDDING).parameters()));
  }

  @ParameterizedTest
  @MethodSource("families")
  void aFootprintIsThatOfTheFolderThatPruningWrites(String family) throws Exception {
    Path source = Fixtures.golden(family);
    assertFootprints(source);
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt_oss", "deepseek_v3"})
  void aFootprintOfQuantisedWeightsToo(String family) throws Exception {
    Path source = Fixtures.golden(family);
    Path quantized = folder.resolve("quantized");
    assertFootprints(
        family.equals("gpt_oss")
            ? QuantizedFixtures.mxfp4(source, quantized)
            : QuantizedFixtures.fp8(source, quantized, 24, 40));
    CheckpointSummary summary = MoeModels.inspect(quantized);
    CheckpointSummary plain = MoeModels.inspect(source);
    assertThat(summary.quantization()).isEqualTo(family.equals("gpt_oss") ? "mxfp4" : "fp8");
    assertThat(summary.total().bytes()).isEqualTo(Checkpoint.open(quantized).bytes());
    assertThat(summary.total().parameters()).isEqualTo(plain.total().parameters());
    assertThat(summary.activeParameters()).isEqualTo(plain.activeParameters());
    assertThat(summary.footprints().get(0).memory()).isEqualTo(plain.footprints().get(0).memory());
    assertThat(summary.bytesByType()).containsKey(family.equals("gpt_oss") ? "U8" : "F8_E4M3");
  }

  private void assertFootprints(Path source) {
    CheckpointSummary summary = MoeModels.inspect(source);
    List<Footprint> footprints = summary.footprints();
    assertThat(footprints.get(0).retained()).isEqualTo(summary.experts());
    assertThat(footprints.get(0).bytes()).isEqualTo(summary.total().bytes());
    Footprint last = footprints.get(footprints.size() - 1);
    assertThat(last.retained()).isBetween(summary.topK(), summary.experts() - 1);
    int group = summary.experts() / summary.groups();
    List<Integer> kept =
        IntStream.range(0, summary.experts())
            .filter(expert -> expert % group < last.retained() / summary.groups())
            .boxed()
            .toList();
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    CheckpointLayout.of(Checkpoint.open(source))
        .config()
        .sparseLayers()
        .forEach(layer -> retained.put(layer, kept));
    Path target = folder.resolve("pruned");
    MoeModels.writePruned(source, retained, new Provenance("test", null, 0, null), target, null);
    CheckpointSummary pruned = MoeModels.inspect(target);
    assertThat(pruned.total().bytes()).isEqualTo(last.bytes());
    assertThat(pruned.footprints().get(0)).isEqualTo(last);
  }

  @Test
  void onlyNumbersThatKeepGroupsEqualAreOffered() {
    // 12 experts in 4 groups, of which 2 are used: top-4 needs 2 of each group.
    assertThat(MoeModels.inspect(Fixtures.golden("deepseek_v3")).footprints())
        .extracting(Footprint::retained)
        .containsExactly(12, 8);
    assertThat(MoeModels.inspect(Fixtures.golden("mixtral")).footprints())
        .extracting(Footprint::retained)
        .startsWith(8, 7, 6)
        .endsWith(2);
  }

  @Test
  void narrowWeightsTakeTheirTypeInMemoryAndNormsAndRoutersFloat32() {
    CheckpointSummary summary = MoeModels.inspect(Fixtures.TINY_MIXTRAL);
    assertThat(summary.computeType()).isEqualTo("BF16");
    Footprint whole = summary.footprints().get(0);
    long wide =
        summary.parts().get(Part.NORMS).parameters()
            + summary.parts().get(Part.ROUTER).parameters();
    long all = summary.total().parameters();
    assertThat(whole.bytes()).isEqualTo(2 * all);
    assertThat(whole.memory()).isEqualTo(2 * (all - wide) + 4 * wide);
    assertThat(whole.memoryFloat32()).isEqualTo(4 * all);
  }

  @Test
  void whatTheDecoderDoesNotUseIsCountedApartAndTakesNoMemory() throws Exception {
    Path source = Fixtures.golden("deepseek_v3");
    List<OutputTensor> tensors = new ArrayList<>();
    Checkpoint.open(source).tensors().values().stream()
        .map(OutputTensor::copyOf)
        .forEach(tensors::add);
    tensors.add(OutputTensor.ofFloats("model.layers.3.eh_proj.weight", List.of(5L), new float[5]));
    Path extended = QuantizedFixtures.write(folder.resolve("more"), config(source), tensors);
    CheckpointSummary summary = MoeModels.inspect(extended);
    Footprint footprint = summary.footprints().get(0);
    Footprint without = MoeModels.inspect(source).footprints().get(0);
    assertThat(summary.parts().get(Part.OTHER)).isEqualTo(new Size(5, 20));
    assertThat(footprint.bytes()).isEqualTo(without.bytes() + 20);
    assertThat(footprint.memory()).isEqualTo(without.memory());
  }

  @Test
  void aModelWithoutExpertsIsRefused() throws Exception {
    Path source = Fixtures.golden("deepseek_v3");
    JsonObject config = config(source);
    config.addProperty("num_hidden_layers", 1);
    Path dense = Files.createDirectories(folder.resolve("dense"));
    Files.copy(source.resolve("model.safetensors"), dense.resolve("model.safetensors"));
    Files.writeString(dense.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> MoeModels.inspect(dense))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("no layer has experts");
  }
}
