package io.winnow.core.internal.layout;

import static io.winnow.core.LoadedModels.assertClose;
import static io.winnow.core.LoadedModels.load;
import static io.winnow.core.LoadedModels.logits;
import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Model;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.Provenance;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.form.CountFields;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Checkpoints as people have them, rebuilt small from public reports. */
class CheckpointCasesTest {
  private static final Path CASES = Path.of("src/test/resources/cases");

  @TempDir Path folder;

  private static Path model(String id) {
    return CASES.resolve(id).resolve("model");
  }

  private static TokenSequences ids(String id) {
    return Fixtures.tokens(CASES.resolve(id).resolve("golden.safetensors"), "input_ids");
  }

  private static float[] golden(String id, String file) {
    return SafetensorsFile.open(CASES.resolve(id).resolve(file)).readFloats("logits");
  }

  /** Writes a model without expert 1 of every layer. */
  private Path pruned(Path source) {
    CheckpointLayout layout = CheckpointLayout.of(Checkpoint.open(source));
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    for (int layer : layout.config().sparseLayers()) {
      retained.put(
          layer, IntStream.range(0, layout.experts(layer)).filter(i -> i != 1).boxed().toList());
    }
    Path target = folder.resolve("pruned");
    MoeModels.writePruned(source, retained, new Provenance("test", null, 0, null), target, null);
    return target;
  }

  private static JsonObject config(Path checkpoint) throws IOException {
    return JsonParser.parseString(Files.readString(checkpoint.resolve("config.json")))
        .getAsJsonObject();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "a03-fused-v5-deepseek-v3",
        "a03-fused-v5-ernie4-5-moe",
        "a03-fused-v5-granitemoe",
        "a03-fused-v5-mixtral",
        "a03-fused-v5-phimoe",
        "a03-fused-v5-qwen3-moe",
        "a04-split-gpt-oss",
        "a04-split-llama4-text"
      })
  void otherLayoutsComputeWhatTransformersDoesAlsoWithoutAnExpert(String id) {
    try (Model whole = load(model(id));
        Model fewer = load(pruned(model(id)))) {
      assertClose(logits(whole, ids(id)), golden(id, "golden.safetensors"), "logits");
      assertClose(logits(fewer, ids(id)), golden(id, "golden_pruned.safetensors"), "pruned");
    }
    assertThat(names(folder.resolve("pruned"))).isSubsetOf(names(model(id)));
  }

  private static Set<String> names(Path checkpoint) {
    return Checkpoint.open(checkpoint).tensors().keySet();
  }

  @ParameterizedTest
  @ValueSource(strings = {"n03-split-gpt-oss-unsloth", "n10-names-without-prefix"})
  void otherNamesComputeWhatTransformersDoes(String id) {
    try (Model model = load(model(id))) {
      assertClose(logits(model, ids(id)), golden(id, "golden.safetensors"), "logits");
    }
    try (Model fewer = load(pruned(model(id)))) {
      assertThat(logits(fewer, ids(id))).hasSameSizeAs(golden(id, "golden.safetensors"));
    }
    assertThat(names(folder.resolve("pruned"))).isSubsetOf(names(model(id)));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "a05-tied-flag-two-matrices",
        "a06-tied-head-only",
        "a10-qwen2-moe-sliding-old",
        "a20-yarn-qwen3-beyond",
        "n34-defaults-deepseek-v3",
        "x01-rope-scaling-wins",
        "x02-theta-in-scaling",
        "x03-stray-partial-rotary"
      })
  void wordsOfConfigMeanWhatTheyMeanInTransformers(String id) {
    try (Model model = load(model(id))) {
      assertClose(logits(model, ids(id)), golden(id, "golden.safetensors"), "logits");
    }
    assertThat(names(pruned(model(id)))).isSubsetOf(names(model(id)));
  }

  @ParameterizedTest
  @CsvSource({
    "a12-count-alias-deepseek-v3, n_routed_experts num_local_experts num_experts",
    "a12-count-alias-ernie, moe_num_experts num_experts num_local_experts",
    "a12-count-alias-mixtral, num_local_experts num_experts",
    "a12-count-other-name-mixtral, num_experts"
  })
  void everyNameOfTheNumberOfExpertsFollowsThePruning(String id, String fields) throws IOException {
    assertThat(MoeModels.inspect(model(id)).experts()).isEqualTo(4);
    JsonObject config = config(pruned(model(id)));
    for (String field : fields.split(" ")) {
      assertThat(config.get(field).getAsInt()).as(field).isEqualTo(3);
    }
    assertThat(CountFields.EXPERTS.stream().filter(config::has))
        .containsExactlyInAnyOrder(fields.split(" "));
  }

  @Test
  void listsOfModulesNameExpertsByTheirNewNumbers() throws IOException {
    Path target = pruned(model("a15-not-converted-lists"));
    assertThat(
            config(target)
                .getAsJsonObject("quantization_config")
                .getAsJsonArray("modules_to_not_convert")
                .asList()
                .stream()
                .map(name -> name.getAsString()))
        .containsExactly(
            "lm_head",
            "model.layers.0.mlp.gate",
            "model.layers.0.mlp.experts.2.gate_proj",
            "model.layers.0.mlp.experts.2.up_proj",
            "model.layers.0.mlp.experts.2.down_proj",
            "model.layers.1.mlp.experts.2.gate_proj",
            "model.layers.1.mlp.experts.2.up_proj",
            "model.layers.1.mlp.experts.2.down_proj");
    assertThat(CheckpointLayout.of(Checkpoint.open(target)).experts(1)).isEqualTo(3);
  }
}
