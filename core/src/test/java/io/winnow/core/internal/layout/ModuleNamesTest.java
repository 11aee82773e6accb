package io.winnow.core.internal.layout;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.Provenance;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Names of modules in lists and files of quantisers. */
class ModuleNamesTest {
  @TempDir Path folder;

  private static ModuleNames names(Set<Integer> droppedLayers) {
    CheckpointLayout layout = CheckpointLayout.of(Checkpoint.open(Fixtures.golden("deepseek_v3")));
    List<Integer> kept = IntStream.range(0, 12).filter(i -> i != 1 && i != 10).boxed().toList();
    return new ModuleNames(layout, Map.of(1, kept, 2, List.of(0, 1, 2, 3)), droppedLayers);
  }

  @ParameterizedTest
  @CsvSource(
      quoteCharacter = '`',
      value = {
        "lm_head, lm_head",
        "model.layers.1.mlp.gate, model.layers.1.mlp.gate",
        "model.layers.1.mlp.experts, model.layers.1.mlp.experts",
        "model.layers.1.mlp.shared_experts.up_proj, model.layers.1.mlp.shared_experts.up_proj",
        "model.layers.1.mlp.experts.11.up_proj, model.layers.1.mlp.experts.9.up_proj",
        "layers.1.mlp.experts.2, layers.1.mlp.experts.1",
        "language_model.model.layers.2.mlp.experts.3.up_proj.weight,"
            + " language_model.model.layers.2.mlp.experts.3.up_proj.weight",
        "model.layers.1.mlp.experts.experts.2.up_proj, model.layers.1.mlp.experts.experts.1.up_proj",
        "model.layers.1.mlp.experts.gate_up_projs.2, model.layers.1.mlp.experts.gate_up_projs.1",
        "model.layers.1.mlp.experts.1.up_proj, ``",
        "re:model\\.layers\\.1\\.mlp\\.experts\\.2\\..*, re:model\\.layers\\.1\\.mlp\\.experts\\.1\\..*",
        "model.layers.1.mlp.experts.1*," + " model.layers.1.mlp.experts.9.*",
        "model.layers.*.mlp.experts.2.up_proj,"
            + " model.layers.1.mlp.experts.1.up_proj model.layers.2.mlp.experts.2.up_proj",
        "model.layers.0.mlp.experts.2.up_proj, model.layers.0.mlp.experts.2.up_proj",
        "model.layers.3.mlp.experts.2.up_proj, ``",
        "model.layers.1.mlp.experts.(1|2).up_proj, model.layers.1.mlp.experts.(1|2).up_proj"
      })
  void listsFollowTheExperts(String name, String expected) {
    JsonArray list = new JsonArray();
    list.add(name);
    assertThat(
            names(Set.of(3)).renamed(list).getAsJsonArray().asList().stream()
                .map(one -> one.getAsString()))
        .containsExactly(expected.isEmpty() ? new String[0] : expected.split(" "));
  }

  @Test
  void namesOfFieldsFollowToo() {
    JsonObject json =
        JsonParser.parseString(
                "{\"layers\": {\"model.layers.1.mlp.experts.1\": {\"bits\": 8},"
                    + " \"model.layers.1.mlp.experts.2\": {\"bits\": 4}, \"note\": [1, null]}}")
            .getAsJsonObject();
    assertThat(names(Set.of()).renamed(json).toString())
        .isEqualTo(
            "{\"layers\":{\"model.layers.1.mlp.experts.1\":{\"bits\":4},\"note\":[1,null]}}");
  }

  @Test
  void filesBesideTheWeightsFollowAndOthersAreCopied() throws IOException {
    Path source = folder.resolve("source");
    Files.createDirectories(source);
    Path model = Path.of("src/test/resources/cases/a15-not-converted-lists/model");
    for (String name : List.of("config.json", "model.safetensors")) {
      Files.copy(model.resolve(name), source.resolve(name));
    }
    Files.writeString(
        source.resolve("recipe.json"), "{\"ignore\":[\"model.layers.0.mlp.experts.3.up_proj\"]}");
    String other = "{\"experts.\" : 1}  ";
    Files.writeString(source.resolve("other.json"), other);
    Files.writeString(source.resolve("broken.json"), "experts. {");
    Path target = folder.resolve("target");
    MoeModels.writePruned(
        source,
        Map.of(0, List.of(0, 2, 3), 1, List.of(0, 1, 2)),
        new Provenance("test", null, 0, null),
        target,
        null);
    assertThat(Files.readString(target.resolve("recipe.json")))
        .contains("model.layers.0.mlp.experts.2.up_proj")
        .doesNotContain("experts.3");
    assertThat(target.resolve("other.json")).hasContent(other);
    assertThat(target.resolve("broken.json")).hasContent("experts. {");
  }
}
