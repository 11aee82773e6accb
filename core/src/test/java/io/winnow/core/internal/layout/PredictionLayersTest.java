package io.winnow.core.internal.layout;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Model;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LoadedModels;
import io.winnow.core.PredictionLayers;
import io.winnow.core.Provenance;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.layout.OtherLayouts.Target;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Layers behind the decoder that predict further tokens, of which loaders run as many experts. */
class PredictionLayersTest {
  private static final Provenance PROVENANCE = new Provenance("test", null, 0, null);
  private static final Path GLM = Path.of("src/test/resources/cases/a11-mtp-glm4-moe/model");

  @TempDir Path folder;

  private Path write(
      Path source, Map<Integer, List<Integer>> retained, PredictionLayers predictionLayers) {
    Path target = folder.resolve("pruned");
    MoeModels.writePruned(source, retained, PROVENANCE, target, predictionLayers, null);
    return target;
  }

  private static JsonObject config(Path checkpoint) throws IOException {
    return JsonParser.parseString(Files.readString(checkpoint.resolve("config.json")))
        .getAsJsonObject();
  }

  private static Set<String> behind(Path checkpoint, int layers) {
    return Checkpoint.open(checkpoint).tensors().keySet().stream()
        .filter(name -> name.contains("layers." + layers + "."))
        .collect(Collectors.toSet());
  }

  @Test
  void theyKeepTheExpertsOfTheLastLayer() throws IOException {
    Path target = write(GLM, Map.of(1, List.of(0, 2, 3)), PredictionLayers.PRUNE);
    SafetensorsFile before = SafetensorsFile.open(GLM.resolve("model.safetensors"));
    SafetensorsFile after = SafetensorsFile.open(target.resolve("model.safetensors"));
    assertThat(config(target).get("num_nextn_predict_layers").getAsInt()).isEqualTo(1);
    assertThat(config(target).getAsJsonObject("winnow").get("mtp").getAsString())
        .isEqualTo("pruned");
    assertThat(MoeModels.predictionLayers(target)).contains(PredictionLayers.PRUNE);
    String block = "model.layers.2.mlp.";
    assertThat(after.tensors().get(block + "gate.weight").shape()).containsExactly(3L, 32L);
    assertThat(after.tensors().get(block + "gate.e_score_correction_bias").shape())
        .containsExactly(3L);
    for (String matrix : List.of("gate_proj", "up_proj", "down_proj")) {
      assertThat(after.readFloats(block + "experts.1." + matrix + ".weight"))
          .isEqualTo(before.readFloats(block + "experts.2." + matrix + ".weight"));
    }
    assertThat(behind(target, 2))
        .noneMatch(name -> name.contains("experts.3."))
        .contains("model.layers.2.eh_proj.weight");
  }

  @Test
  void theyAreLeftOutOnRequest() throws IOException {
    Path target = write(GLM, Map.of(1, List.of(0, 2, 3)), PredictionLayers.DROP);
    assertThat(behind(target, 2)).isEmpty();
    assertThat(config(target).get("num_nextn_predict_layers").getAsInt()).isZero();
    assertThat(MoeModels.predictionLayers(target)).contains(PredictionLayers.DROP);
  }

  @ParameterizedTest
  @EnumSource
  void savingAModelDoesTheSame(PredictionLayers treatment) throws IOException {
    Map<Integer, List<Integer>> retained = Map.of(1, List.of(0, 2, 3));
    Path onDisk = write(GLM, retained, treatment);
    Path saved = folder.resolve("saved");
    try (Model model = LoadedModels.float32(GLM).optRetained(retained).load()) {
      MoeModels.save(model, saved, treatment, null);
    }
    assertThat(
            Files.mismatch(saved.resolve("model.safetensors"), onDisk.resolve("model.safetensors")))
        .isEqualTo(-1);
  }

  @Test
  void anotherNumberOfExpertsIsRefusedWithTheCure() {
    Path once = write(GLM, Map.of(1, List.of(0, 2, 3)), PredictionLayers.PRUNE);
    List<OutputTensor> tensors = new ArrayList<>();
    SafetensorsFile source = SafetensorsFile.open(GLM.resolve("model.safetensors"));
    SafetensorsFile.open(once.resolve("model.safetensors"))
        .tensors()
        .values()
        .forEach(
            info ->
                tensors.add(
                    OutputTensor.copyOf(
                        info.name().contains("layers.2.mlp.gate.weight")
                            ? source.tensors().get(info.name())
                            : info)));
    Path mixed = folder.resolve("mixed");
    assertThatThrownBy(
            () -> {
              copy(once, mixed, tensors);
              MoeModels.writePruned(
                  mixed, Map.of(1, List.of(0, 1)), PROVENANCE, folder.resolve("again"), null);
            })
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(
            "prediction layer 2", "gate.weight", "[4, 32]", "3 experts", "--mtp drop");
  }

  @Test
  void narrowerExpertsBesideThemAreRefusedWithTheCure() throws IOException {
    assertThatThrownBy(() -> MoeModels.layerwise(GLM, tensor -> {}).checkNarrow(8))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("prediction layers", "keep their width", "--retain 4 --mtp drop");
    Path without = write(GLM, Map.of(1, List.of(0, 1, 2, 3)), PredictionLayers.DROP);
    MoeModels.layerwise(without, tensor -> {}).checkNarrow(8);
  }

  private static void copy(Path source, Path target, List<OutputTensor> tensors)
      throws IOException {
    Files.createDirectories(target);
    Files.copy(source.resolve("config.json"), target.resolve("config.json"));
    SafetensorsFile.write(target.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
  }

  @ParameterizedTest
  @CsvSource({
    "deepseek_v3, SINGLE, num_nextn_predict_layers",
    "deepseek_v3, TRANSFORMERS_5, num_mtp_layers",
    "glm4_moe, TRANSFORMERS_5, num_nextn_predict_layers",
    "glm4_moe_lite, PAIRS, num_nextn_predict_layers",
    "minimax_m2, WITHOUT_PREFIX, num_mtp_modules"
  })
  void everyFamilyMayHaveThemInEveryLayout(String family, Target layout, String count)
      throws IOException {
    Path plain = OtherLayouts.convert(Fixtures.golden(family), layout, folder.resolve("plain"));
    CheckpointLayout found = CheckpointLayout.of(Checkpoint.open(plain));
    int layers = found.config().layers();
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : found.checkpoint().tensors().values()) {
      tensors.add(OutputTensor.copyOf(info));
      String last = "layers." + (layers - 1) + ".";
      if (info.name().contains(last)) {
        tensors.add(OutputTensor.copyOf(info, info.name().replace(last, "layers." + layers + ".")));
      }
    }
    Path source = folder.resolve("source");
    copy(plain, source, tensors);
    JsonObject config = config(source);
    config.remove("num_nextn_predict_layers");
    config.addProperty(count, 1);
    Files.writeString(source.resolve("config.json"), config.toString());

    Path pruned = write(source, LoadedModels.retained(family), PredictionLayers.PRUNE);
    SafetensorsFile file = SafetensorsFile.open(pruned.resolve("model.safetensors"));
    Set<String> behind = behind(pruned, layers);
    assertThat(behind).hasSameSizeAs(behind(pruned, layers - 1));
    for (String name : behind) {
      String ofLast = name.replace("layers." + layers + ".", "layers." + (layers - 1) + ".");
      assertThat(file.readFloats(name)).as(name).isEqualTo(file.readFloats(ofLast));
    }
    assertThat(config(pruned).get(count).getAsInt()).isEqualTo(1);

    MoeModels.writePruned(
        source,
        LoadedModels.retained(family),
        PROVENANCE,
        folder.resolve("dropped"),
        PredictionLayers.DROP,
        null);
    assertThat(behind(folder.resolve("dropped"), layers)).isEmpty();
    assertThat(config(folder.resolve("dropped")).get(count).getAsInt()).isZero();
  }
}
