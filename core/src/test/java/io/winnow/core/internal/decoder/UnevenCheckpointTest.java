package io.winnow.core.internal.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LoadedModels;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/** Checkpoints whose layers have different numbers of experts: this library's own kind. */
class UnevenCheckpointTest {
  private static final Provenance PROVENANCE = new Provenance("test", null, 0, null);

  @SuppressWarnings("unused") // By the tests' sources.
  static final List<String> FAMILIES = io.winnow.core.FamilyFixtures.FAMILIES;

  @TempDir private Path folder;

  @ParameterizedTest
  @FieldSource("FAMILIES")
  void anUnevenFolderComputesWhatTheRetainedExpertsDo(String family) {
    Path source = Fixtures.golden(family);
    Path target = folder.resolve("uneven");
    Map<Integer, List<Integer>> retained = firstLayerHalved(source);
    float[] expected;
    try (Model model = loader(source).optRetained(retained).load()) {
      expected = logits(model);
      MoeModels.save(model, folder.resolve("saved"));
    }
    MoeModels.writePruned(source, retained, PROVENANCE, target, null);
    try (Model model = loader(target).load()) {
      assertThat(MoeModel.of(model).moeLayers().stream().map(MoeLayerView::numExperts).distinct())
          .as("numbers of experts")
          .hasSize(2);
      assertThat(logits(model)).usingComparatorWithPrecision(1e-5f).containsExactly(expected);
      assertThat(MoeModel.of(model).sourceDigest()).isPresent();
    }
    try (Model model = loader(folder.resolve("saved")).load()) {
      assertThat(logits(model)).usingComparatorWithPrecision(1e-5f).containsExactly(expected);
    }
    assertThat(Checkpoint.open(target).config().modelType()).startsWith("winnow_");
    assertThat(MoeModels.inspect(target).footprints().get(0).bytes())
        .as("bytes with every expert that there is")
        .isEqualTo(
            Checkpoint.open(target).tensors().values().stream()
                .mapToLong(info -> info.length())
                .sum());
  }

  @ParameterizedTest
  @FieldSource("FAMILIES")
  void anUnevenFolderPrunedEvenlyIsReadByStockLoadersAgain(String family) {
    Path source = Fixtures.golden(family);
    Map<Integer, List<Integer>> halved = new TreeMap<>(firstLayerHalved(source));
    MoeModels.writePruned(source, halved, PROVENANCE, folder.resolve("uneven"), null);
    List<Integer> kept = halved.values().iterator().next();
    // In the uneven folder the first layer's experts are numbered anew.
    Map<Integer, List<Integer>> rest = new TreeMap<>(halved);
    rest.replaceAll((layer, experts) -> kept);
    rest.put(halved.keySet().iterator().next(), range(kept.size()));
    MoeModels.writePruned(folder.resolve("uneven"), rest, PROVENANCE, folder.resolve("even"), null);
    halved.replaceAll((layer, experts) -> kept);
    MoeModels.writePruned(source, halved, PROVENANCE, folder.resolve("direct"), null);
    assertThat(folder.resolve("even/model.safetensors"))
        .hasSameBinaryContentAs(folder.resolve("direct/model.safetensors"));
    JsonObject even = Checkpoint.open(folder.resolve("even")).config().json();
    JsonObject direct = Checkpoint.open(folder.resolve("direct")).config().json();
    even.remove("winnow");
    direct.remove("winnow");
    assertThat(even).isEqualTo(direct);
  }

  @Test
  void aConfigThatCountsWrongIsRefused() throws Exception {
    Path source = Fixtures.golden("mixtral");
    Path target = folder.resolve("uneven");
    MoeModels.writePruned(source, firstLayerHalved(source), PROVENANCE, target, null);
    JsonObject config = JsonFiles.read(target.resolve("config.json"), "a configuration");
    JsonArray counts = config.getAsJsonObject("winnow").getAsJsonArray("experts_per_layer");
    int layers = counts.size();
    counts.add(4);
    JsonFiles.write(target.resolve("config.json"), config);
    assertThatThrownBy(() -> loader(target).load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining((layers + 1) + " numbers, for " + layers + " layers");
    counts.remove(layers);
    counts.set(0, new com.google.gson.JsonPrimitive(99));
    JsonFiles.write(target.resolve("config.json"), config);
    assertThatThrownBy(() -> loader(target).load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("says 99 for layer 0");
  }

  /** Half of each group of experts in the first sparse layer, everything in the others. */
  private static Map<Integer, List<Integer>> firstLayerHalved(Path source) {
    CheckpointLayout layout = CheckpointLayout.of(Checkpoint.open(source));
    int experts = layout.config().experts();
    int groups = layout.routing(layout.config().sparseLayers().get(0), null).groups();
    int size = experts / groups;
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    for (int layer : layout.config().sparseLayers()) {
      retained.put(layer, range(experts));
    }
    retained.put(
        layout.config().sparseLayers().get(0),
        range(experts).stream().filter(expert -> expert % size >= size / 2).toList());
    return retained;
  }

  private static List<Integer> range(int end) {
    return IntStream.range(0, end).boxed().toList();
  }

  private static MoeModels.Loader loader(Path checkpoint) {
    return MoeModels.loader(checkpoint).optDataType(DataType.FLOAT32);
  }

  private static float[] logits(Model model) {
    return LoadedModels.logits(model, 5, 17, 3, 90, 41, 8, 77, 2);
  }
}
