package io.winnow.core.internal.layout;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Dense models of families with experts, and weights that quantisers describe in their own way. */
class ForeignCheckpointTest {
  @TempDir Path folder;

  private void copy(String family) throws IOException {
    for (String name : new String[] {"config.json", "model.safetensors"}) {
      Files.copy(Fixtures.golden(family).resolve(name), folder.resolve(name));
    }
  }

  private void setConfig(String field, String json) throws IOException {
    Path file = folder.resolve("config.json");
    JsonObject config = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
    JsonObject part = config.has("text_config") ? config.getAsJsonObject("text_config") : config;
    part.add(field, JsonParser.parseString(json));
    Files.writeString(file, config.toString());
  }

  @ParameterizedTest
  @CsvSource({
    "mixtral, num_local_experts, 0",
    "granitemoe, num_local_experts, 0",
    "qwen2_moe, num_experts, 0",
    "qwen3_moe, num_local_experts, null",
    "ernie4_5_moe, moe_num_experts, 0",
    "deepseek_v2, n_routed_experts, null",
    "deepseek_v3, n_routed_experts, 0",
    "glm4_moe, n_routed_experts, null",
    "llama4, num_local_experts, 0"
  })
  void saysThatADenseModelHasNoExperts(String family, String field, String count) throws Exception {
    copy(family);
    setConfig(field, count);
    assertThatThrownBy(() -> MoeModels.inspect(folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessage(
            "The model has no experts: %s is %s in config.json; give a model with experts",
            field, count);
  }

  @Test
  void saysThatNoLayerHasExperts() {
    Path dense = Path.of("src/test/resources/cases/b28-qwen2-moe-all-plain/model");
    assertThatThrownBy(() -> MoeModels.inspect(dense))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(dense.toString(), "no layer has experts");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "hf_quant_config.json | {\"producer\": {\"name\": \"modelopt\"}, \"quantization\":"
            + " {\"quant_algo\": \"FP8\"}} | by modelopt (quant_algo FP8)",
        "hf_quant_config.json | {\"quantization\": {\"quant_algo\": \"NVFP4\"}} | NVFP4",
        "quantize_config.json | {\"bits\": 4, \"group_size\": 128} | (bits 4)",
        "quant_config.json | {\"w_bit\": 4, \"zero_point\": true} | (w_bit 4)"
      })
  void namesTheFileThatDescribesQuantisedWeights(String name, String content, String what)
      throws Exception {
    copy("mixtral");
    Files.writeString(folder.resolve(name), content);
    assertThatThrownBy(() -> MoeModels.inspect(folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(folder.resolve(name).toString(), what, "convert the checkpoint");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"quantization\": {\"quant_algo\": null, \"kv_cache_quant_algo\": \"FP8\"}}",
        "{\"quantization\": {\"quant_algo\": \"NO_QUANT\"}}",
        "{}"
      })
  void readsWhatASidecarLeavesAsItWas(String content) throws Exception {
    copy("mixtral");
    Files.writeString(folder.resolve("hf_quant_config.json"), content);
    assertThat(MoeModels.inspect(folder).quantization()).isEqualTo("none");
  }

  @Test
  void namesTheQuantisationOfMlx() throws Exception {
    copy("mixtral");
    setConfig("quantization", "{\"group_size\": 64, \"bits\": 4}");
    assertThatThrownBy(() -> MoeModels.inspect(folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("(quantization in config.json)");
  }
}
