package io.winnow.core.internal.family;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.LatentAttention;
import io.winnow.core.internal.form.RotaryConfig;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every family's rotation in every word for it, against {@code inv_freq} and {@code
 * attention_scaling} of Transformers 5.17: config/rotary.json.
 */
class RotaryReadingTest {
  private static final List<String> WORDS =
      List.of(
          "rope_parameters",
          "rope_scaling",
          "rope_theta",
          "partial_rotary_factor",
          "rotary_dim",
          "original_max_position_embeddings");
  private static final JsonObject REFERENCE = FamilyConfigs.reference("rotary.json");

  @TempDir private Path folder;

  private static JsonObject base(String family) {
    JsonObject json = FamilyConfigs.golden(family, WORDS);
    json.addProperty("max_position_embeddings", 256);
    if (family.equals("mixtral")) {
      json.addProperty("head_dim", 8);
    }
    return json;
  }

  @ParameterizedTest
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void everyWordIsReadAsTransformersReadsIt(String family) {
    for (JsonElement element : REFERENCE.getAsJsonObject("families").getAsJsonArray(family)) {
      JsonObject row = element.getAsJsonObject();
      String words = row.get("words").getAsString();
      JsonObject more =
          row.has("config")
              ? row.getAsJsonObject("config")
              : REFERENCE.getAsJsonObject("words").getAsJsonObject(words);
      JsonObject json = FamilyConfigs.with(base(family), more);
      if (row.has("scores")
          && 2 * row.getAsJsonArray("frequencies").size()
              != json.get("qk_rope_head_dim").getAsInt()) {
        // Transformers cannot run it.
        assertThatThrownBy(() -> FamilyConfigs.read(json, folder))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContaining("partial_rotary_factor");
        continue;
      }
      DecoderConfig config = FamilyConfigs.read(json, folder);
      if (family.equals("mellum")) {
        // Layers slide or not as layer_types says.
        check(FamilyConfigs.rotary(config, 0), row.getAsJsonObject("sliding_attention"), words);
        check(FamilyConfigs.rotary(config, 2), row.getAsJsonObject("full_attention"), words);
        continue;
      }
      RotaryConfig rotary = FamilyConfigs.rotary(config, 0);
      check(rotary, row, words);
      if (row.has("scores")) {
        assertThat(((LatentAttention) config.mixer(0)).scale())
            .as(words)
            .isCloseTo(row.get("scores").getAsDouble(), within(1e-7));
      }
      if (row.has("longer")) {
        RotaryConfig.Longer longer = rotary.longer();
        assertThat(longer).as(words).isNotNull();
        assertThat(longer.above()).isEqualTo(64);
        check(
            new RotaryConfig(longer.inverseFrequencies(), longer.factor(), false),
            row.getAsJsonObject("longer"),
            words);
      }
    }
  }

  private static void check(RotaryConfig rotary, JsonObject expected, String words) {
    float[] frequencies = FamilyConfigs.floats(expected.get("frequencies"));
    assertThat(rotary.inverseFrequencies()).as(words).hasSameSizeAs(frequencies);
    for (int i = 0; i < frequencies.length; i++) {
      assertThat(rotary.inverseFrequencies()[i])
          .as("%s, frequency %d", words, i)
          .isCloseTo(frequencies[i], within(3e-6f * frequencies[i]));
    }
    assertThat(rotary.factor())
        .as(words)
        .isCloseTo(expected.get("factor").getAsDouble(), within(1e-6));
  }

  @ParameterizedTest
  @MethodSource("io.winnow.core.FamilyFixtures#families")
  void scaledPositionsReachAsFarAsTheScaling(String family) {
    if (family.equals("mellum")) {
      return;
    }
    assertThat(positions(family, "nothing", 256)).isIn(256, 32 * 4096);
    assertThat(positions(family, "yarn", 256)).isEqualTo(256);
    assertThat(positions(family, "yarn", 64)).isEqualTo(256);
    assertThat(positions(family, "yarn without original", 64)).isEqualTo(256);
    assertThat(positions(family, "old linear", 64)).isEqualTo(256);
    assertThat(positions(family, "llama3", 64)).isEqualTo(512);
    assertThat(positions(family, "dynamic", 64)).isEqualTo(64);
  }

  private int positions(String family, String words, int maxPositions) {
    JsonObject json = base(family);
    FamilyConfigs.with(json, REFERENCE.getAsJsonObject("words").getAsJsonObject(words));
    json.addProperty("max_position_embeddings", maxPositions);
    return FamilyConfigs.read(json, folder).maxPositions();
  }

  @Test
  void miniMaxSaysHowManyElementsAreRotated() {
    JsonObject json = base("minimax_m2");
    json.addProperty("rotary_dim", 4);
    assertThat(FamilyConfigs.rotary(FamilyConfigs.read(json, folder), 0).size()).isEqualTo(4);
  }

  @Test
  void phimoeHasOtherFactorsForLongerSequences() {
    JsonObject json = base("phimoe");
    for (JsonElement row : REFERENCE.getAsJsonObject("families").getAsJsonArray("phimoe")) {
      if (row.getAsJsonObject().get("words").getAsString().equals("longrope")) {
        FamilyConfigs.with(json, row.getAsJsonObject().getAsJsonObject("config"));
      }
    }
    RotaryConfig rotary = FamilyConfigs.rotary(FamilyConfigs.read(json, folder), 0);
    RotaryConfig.Longer longer = rotary.longer();
    assertThat(longer).isNotNull();
    assertThat(rotary.factor()).isEqualTo(1.25);
    assertThat(longer.factor()).isEqualTo(1.5);
    assertThat(longer.inverseFrequencies()[0]).isEqualTo(0.5f);
  }
}
