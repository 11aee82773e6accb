package io.winnow.core.internal.decoder;

import static io.winnow.core.internal.decoder.MergedLayersTest.apply;
import static io.winnow.core.internal.decoder.MergedLayersTest.layers;
import static io.winnow.core.internal.decoder.MergedLayersTest.loader;
import static io.winnow.core.internal.decoder.MergedLayersTest.logits;
import static io.winnow.core.internal.decoder.MergedLayersTest.random;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.ExpertMerge;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.MoeModels;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is written of a model that runs with merges, and read back. */
class MergedCheckpointTest {
  private static final String MAPPING =
      "model.layers.1.block_sparse_moe.gate.router_mapping.weight";

  @TempDir private Path folder;

  private Path checkpoint(TensorType type) throws Exception {
    JsonArray architectures = new JsonArray();
    architectures.add("MixtralForCausalLM");
    Path written = new RandomCheckpoint().type(type).write(folder.resolve("model"));
    JsonObject config = config(written);
    config.add("architectures", architectures);
    Files.writeString(written.resolve("config.json"), config.toString());
    return written;
  }

  private static JsonObject config(Path checkpoint) throws Exception {
    return JsonParser.parseString(Files.readString(checkpoint.resolve("config.json")))
        .getAsJsonObject();
  }

  private static byte[] weights(Path checkpoint) throws Exception {
    return Files.readAllBytes(checkpoint.resolve("model.safetensors"));
  }

  /** Writes a merged checkpoint and returns its folder. */
  private Path merged(TensorType type) throws Exception {
    try (Model model = loader(checkpoint(type)).load()) {
      apply(model, random(1), 2);
      MoeModels.save(model, folder.resolve("merged"));
    }
    return folder.resolve("merged");
  }

  @Test
  void mergesThatOnlyPruneGiveThePlainPrunedFolder() throws Exception {
    Path source = checkpoint(TensorType.BF16);
    Path target = folder.resolve("merged");
    try (Model model = loader(source).load()) {
      // In any order: a checkpoint lists them as they were.
      apply(model, ExpertMerge.ofRetained(4, 3, 0, 2), 2);
      MoeModels.save(model, target);
    }
    Path pruned = folder.resolve("pruned");
    MoeModels.writePruned(
        source,
        Fixtures.everywhere(2, 0, 2, 3),
        new Provenance("test", null, 0, null),
        pruned,
        null);
    assertThat(weights(target)).isEqualTo(weights(pruned));
    assertThat(config(target).get("model_type").getAsString()).isEqualTo("mixtral");
    assertThat(config(target).get("num_local_experts").getAsInt()).isEqualTo(3);
    assertThat(config(target).getAsJsonObject("winnow").has("router_experts")).isFalse();
  }

  @Test
  void aLowerTopKIsAFieldOfThePlainFolder() throws Exception {
    Path target = folder.resolve("single");
    float[] running;
    try (Model model = loader(checkpoint(TensorType.F32)).load()) {
      apply(model, ExpertMerge.ofRetained(4, 1), 1);
      running = logits(model);
      MoeModels.save(model, target);
    }
    assertThat(config(target).get("model_type").getAsString()).isEqualTo("mixtral");
    assertThat(config(target).get("num_experts_per_tok").getAsInt()).isEqualTo(1);
    try (Model model = loader(target).load()) {
      assertThat(logits(model)).containsExactly(running, within(1e-5f));
    }
  }

  @Test
  void aMergedFolderGivesTheRunningModelsLogits() throws Exception {
    Path target = folder.resolve("merged");
    float[] running;
    try (Model model = loader(checkpoint(TensorType.F32)).load()) {
      apply(model, random(2), 2);
      layers(model).get(0).applyMerge(ExpertMerge.ofRetained(4, 0, 1, 3), 2);
      running = logits(model);
      MoeModels.save(model, target);
      assertThat(logits(model)).isEqualTo(running);
    }
    for (boolean fused : new boolean[] {true, false}) {
      try (Model model = loader(target).optFused(fused).load()) {
        float[] reloaded = logits(model);
        if (fused) {
          assertThat(reloaded).isEqualTo(running);
        } else {
          assertThat(reloaded).containsExactly(running, within(1e-4f));
        }
        assertThat(MoeModel.of(model).moeLayers())
            .allMatch(layer -> layer.numExperts() == 3 && layer.routing().topK() == 2);
        assertThat(Generator.of(model).generate(new long[] {1, 2, 3}, 5)).hasSizeLessThan(6);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"BF16", "F16"})
  void narrowCheckpointsHoldRoundedExperts(String type) throws Exception {
    Path target = folder.resolve("merged");
    float[] wide;
    try (Model model = loader(checkpoint(TensorType.valueOf(type))).load()) {
      apply(model, random(3), 2);
      wide = logits(model);
      MoeModels.save(model, target);
    }
    try (Model model = loader(target).load()) {
      float[] reloaded = logits(model);
      for (int i = 0; i < wide.length; i++) {
        assertThat(reloaded[i]).isCloseTo(wide[i], within(0.05f * (1 + Math.abs(wide[i]))));
      }
    }
    Path stored = folder.resolve("stored");
    float[] narrow;
    try (Model model = MoeModels.load(folder.resolve("model"), Device.cpu())) {
      apply(model, random(3), 2);
      narrow = logits(model);
      MoeModels.save(model, stored);
    }
    assertThat(weights(stored)).as("rounded once, either way").isEqualTo(weights(target));
    try (Model model = MoeModels.load(stored, Device.cpu())) {
      assertThat(logits(model)).isEqualTo(narrow);
    }
  }

  @Test
  void theFolderSaysThatOnlyWinnowReadsIt() throws Exception {
    Path target = merged(TensorType.F32);
    JsonObject config = config(target);
    assertThat(config.get("model_type").getAsString()).isEqualTo("winnow_mixtral");
    assertThat(config.getAsJsonArray("architectures").get(0).getAsString())
        .isEqualTo("WinnowMixtralForCausalLM");
    assertThat(config.get("num_local_experts").getAsInt()).isEqualTo(3);
    JsonObject winnow = config.getAsJsonObject("winnow");
    assertThat(winnow.get("router_experts").getAsInt()).isEqualTo(4);
    assertThat(winnow.get("note").getAsString()).contains("Only Winnow reads this folder");
    assertThat(winnow.get("source").getAsString())
        .isEqualTo(Checkpoint.open(folder.resolve("model")).digest());
    Checkpoint merged = Checkpoint.open(target);
    assertThat(merged.tensor(MAPPING).type()).isEqualTo(TensorType.F32);
    assertThat(merged.tensor(MAPPING).shape()).containsExactly(3L, 4L);
    assertThat(merged.tensor("model.layers.1.block_sparse_moe.gate.weight").shape())
        .containsExactly(4L, 16L);
  }

  @Test
  void aMergedFolderIsPrunedLikeAnyOther() throws Exception {
    Path target = merged(TensorType.F32);
    Path pruned = folder.resolve("pruned");
    Path written = folder.resolve("written");
    float[] running;
    try (Model model = loader(target).load()) {
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 2));
      running = logits(model);
      MoeModels.save(model, pruned);
    }
    MoeModels.writePruned(
        target, Fixtures.everywhere(2, 0, 2), new Provenance("test", null, 0, null), written, null);
    assertThat(weights(written)).isEqualTo(weights(pruned));
    try (Model model = loader(pruned).load();
        Model selected = loader(target).optRetained(Fixtures.everywhere(2, 0, 2)).load()) {
      assertThat(logits(model)).isEqualTo(running);
      assertThat(logits(selected)).isEqualTo(running);
    }
  }

  @Test
  void aMergedFolderIsMergedAgain() throws Exception {
    Path target = merged(TensorType.F32);
    Path again = folder.resolve("again");
    ExpertMerge second =
        ExpertMerge.of(
            new double[][] {{1, 0.5, 0}, {0, 0.25, 1}}, new double[][] {{0.5, 0.5, 0}, {0, 0, 1}});
    float[] running;
    try (Model model = loader(target).load()) {
      apply(model, second, 1);
      running = logits(model);
      MoeModels.save(model, again);
    }
    try (Model model = loader(again).load()) {
      assertThat(logits(model)).containsExactly(running, within(1e-4f));
      assertThat(config(again).getAsJsonObject("winnow").get("router_experts").getAsInt())
          .isEqualTo(4);
    }
  }

  @Test
  void aPrunedModelIsMergedAndWritten() throws Exception {
    Path target = folder.resolve("merged");
    ExpertMerge merge =
        ExpertMerge.of(
            new double[][] {{1, 0.5, 0}, {0, 0.25, 1}}, new double[][] {{0.5, 0.5, 0}, {0, 0, 1}});
    float[] running;
    try (Model model = loader(checkpoint(TensorType.F32)).load()) {
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 2, 3));
      apply(model, merge, 2);
      running = logits(model);
      MoeModels.save(model, target);
    }
    try (Model model = loader(target).load()) {
      assertThat(logits(model)).isEqualTo(running);
    }
  }

  @Test
  void layersThatDifferInWhatConfigJsonSaysOnceAreRefused() throws Exception {
    try (Model model = loader(checkpoint(TensorType.F32)).load()) {
      layers(model).get(0).applyMerge(random(4), 2);
      assertThatThrownBy(() -> MoeModels.save(model, folder.resolve("target")))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("different numbers of experts [3, 4]");
      layers(model).get(1).applyMerge(random(4), 1);
      assertThatThrownBy(() -> MoeModels.save(model, folder.resolve("target")))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("different numbers of experts per token [1, 2]");
      layers(model).get(1).undoMerge();
      layers(model).get(1).retain(0, 1, 2);
      assertThatThrownBy(() -> MoeModels.save(model, folder.resolve("target")))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("different numbers of experts [3], or their gates [3, 4]");
    }
    assertThat(folder.resolve("target")).doesNotExist();
  }

  @Test
  void damagedMergedFoldersAreErrors() throws Exception {
    Path target = merged(TensorType.F32);
    JsonObject config = config(target);
    config.remove("winnow");
    Files.writeString(target.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> MoeModels.load(target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("winnow.router_experts");
    config.addProperty("model_type", "mixtral");
    Files.writeString(target.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> MoeModels.load(target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("gate.weight");
    config.addProperty("model_type", "winnow_gpt2");
    Files.writeString(target.resolve("config.json"), config.toString());
    assertThatThrownBy(() -> MoeModels.load(target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("winnow_gpt2");
  }

  @Test
  void aRouterMappingMustBeThereAndFinite() throws Exception {
    Path target = merged(TensorType.F32);
    List<OutputTensor> tensors = new ArrayList<>();
    Checkpoint.open(target)
        .tensors()
        .forEach(
            (name, info) ->
                tensors.add(
                    name.equals(MAPPING)
                        ? OutputTensor.ofFloats(
                            name,
                            info.shape(),
                            new float[] {1, 0, 0, 0, 0, Float.NaN, 0, 0, 0, 0, 1, 0})
                        : OutputTensor.copyOf(info)));
    Path damaged = Files.createDirectory(folder.resolve("damaged"));
    Files.copy(target.resolve("config.json"), damaged.resolve("config.json"));
    SafetensorsFile.write(damaged.resolve("model.safetensors"), tensors, Map.of());
    assertThatThrownBy(() -> loader(damaged).load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Element [1, 1] of the router mapping is NaN");
    tensors.removeIf(tensor -> tensor.name().equals(MAPPING));
    Path incomplete = Files.createDirectory(folder.resolve("incomplete"));
    Files.copy(target.resolve("config.json"), incomplete.resolve("config.json"));
    SafetensorsFile.write(incomplete.resolve("model.safetensors"), tensors, Map.of());
    assertThatThrownBy(() -> loader(incomplete).load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(MAPPING);
  }
}
