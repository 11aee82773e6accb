package io.winnow.core.internal.family;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What every family reads where config.json lacks a field, against the defaults of its
 * configuration in Transformers 5.17: config/defaults.json.
 */
class DefaultsTest {
  private static final JsonObject REFERENCE = FamilyConfigs.reference("defaults.json");

  @TempDir private Path folder;

  private static JsonObject defaults(String family) {
    return REFERENCE.getAsJsonObject(family.equals("llama4") ? "llama4_text" : family);
  }

  /** Leaves out what Transformers gives no value, but for null. */
  private static void set(JsonObject json, String field, JsonElement value) {
    if (value instanceof JsonNull) {
      json.remove(field);
    } else {
      json.add(field, value);
    }
  }

  @ParameterizedTest
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void anAbsentFieldIsItsDefault(String family) {
    JsonObject golden = FamilyConfigs.golden(family, List.of());
    for (Map.Entry<String, JsonElement> field : defaults(family).entrySet()) {
      String name = field.getKey();
      JsonObject absent = golden.deepCopy();
      absent.remove(name);
      JsonObject said = golden.deepCopy();
      set(said, name, field.getValue());
      if (name.startsWith("rope_") || name.equals("partial_rotary_factor")) {
        // Else what stands in rope_parameters counts.
        absent.remove("rope_parameters");
        said.remove("rope_parameters");
        set(said, name, field.getValue());
      }
      if (name.endsWith("experts")) {
        // Synonyms say it too.
        List.of("num_experts", "num_local_experts").forEach(absent::remove);
        List.of("num_experts", "num_local_experts").forEach(said::remove);
        set(said, name, field.getValue());
      }
      assertThat(FamilyConfigs.describe(absent, folder))
          .as(name)
          .isEqualTo(FamilyConfigs.describe(said, folder));
    }
  }

  @ParameterizedTest
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void allDefaultsTogetherAreThoseOfTransformers(String family) {
    JsonObject absent = new JsonObject();
    JsonObject said = new JsonObject();
    JsonElement type = FamilyConfigs.golden(family, List.of()).get("model_type");
    absent.add("model_type", type);
    said.add("model_type", type);
    defaults(family).entrySet().forEach(field -> set(said, field.getKey(), field.getValue()));
    if (family.equals("glm4_moe")) {
      // Half of what hidden_size and the heads give is odd.
      absent.addProperty("head_dim", 128);
      said.addProperty("head_dim", 128);
    }
    for (String field : List.of("n_routed_experts", "num_experts_per_tok")) {
      if (defaults(family).has(field) && defaults(family).get(field).isJsonNull()) {
        absent.addProperty(field, 8);
        said.addProperty(field, 8);
      }
    }
    assertThat(FamilyConfigs.describe(absent, folder))
        .startsWith("DecoderConfig")
        .isEqualTo(FamilyConfigs.describe(said, folder));
  }
}
