package io.winnow.core.internal.family;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.PositionForm.Visibility;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Which positions each layer of every family sees, in every word for windows, against the masks
 * that reach the attention of Transformers 5.17: config/windows.json.
 */
class WindowReadingTest {
  private static final List<String> WORDS =
      List.of(
          "sliding_window",
          "use_sliding_window",
          "max_window_layers",
          "layer_types",
          "attention_chunk_size",
          "no_rope_layers",
          "no_rope_layer_interval",
          "mlp_layer_types",
          "moe_layers");
  private static final JsonObject REFERENCE = FamilyConfigs.reference("windows.json");

  @TempDir private Path folder;

  private static JsonObject base(String family) {
    JsonObject json = FamilyConfigs.golden(family, WORDS);
    json.addProperty("num_hidden_layers", 4);
    return json;
  }

  @ParameterizedTest
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void everyLayerSeesWhatItSeesInTransformers(String family) {
    JsonObject rows = REFERENCE.getAsJsonObject("families").getAsJsonObject(family);
    for (String words : rows.keySet()) {
      JsonObject more = REFERENCE.getAsJsonObject("words").getAsJsonObject(words);
      DecoderConfig config = FamilyConfigs.read(FamilyConfigs.with(base(family), more), folder);
      JsonArray seen = new JsonArray();
      for (int layer = 0; layer < 4; layer++) {
        Visibility visibility = config.mixer(layer).positions().visibility();
        JsonArray first = new JsonArray();
        first.add(visibility.first(12));
        first.add(visibility.first(23));
        seen.add(first);
      }
      assertThat(seen.toString()).as(words).isEqualTo(rows.getAsJsonArray(words).toString());
    }
  }

  @ParameterizedTest
  @CsvSource({
    "qwen2_moe, layer_types, full_attention or sliding_attention",
    "llama4, layer_types, full_attention or chunked_attention",
    "mellum, mlp_layer_types, dense or sparse"
  })
  void unknownLayersAreRefused(String family, String field, String known) {
    JsonArray types = new JsonArray();
    new ArrayList<>(List.of("a", "b", "linear", "d")).forEach(types::add);
    JsonObject json = base(family);
    json.add(field, types);
    assertThatThrownBy(() -> FamilyConfigs.read(json, folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(field)
        .hasMessageContaining("'a'")
        .hasMessageContaining(known);
  }
}
