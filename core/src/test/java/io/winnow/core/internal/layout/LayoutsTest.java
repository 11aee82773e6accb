package io.winnow.core.internal.layout;

import static io.winnow.core.FamilyFixtures.golden;
import static io.winnow.core.FamilyFixtures.inputs;
import static io.winnow.core.LoadedModels.assertClose;
import static io.winnow.core.LoadedModels.float32;
import static io.winnow.core.LoadedModels.load;
import static io.winnow.core.LoadedModels.logits;
import static io.winnow.core.LoadedModels.relativeError;
import static io.winnow.core.LoadedModels.retained;
import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.Provenance;
import io.winnow.core.internal.layout.OtherLayouts.Target;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Any family in any layout: what Transformers computes, and written back as it came. */
class LayoutsTest {
  @TempDir Path folder;

  static Stream<Arguments> familiesAndLayouts() {
    return FamilyFixtures.FAMILIES.stream()
        .flatMap(
            family -> Arrays.stream(Target.values()).map(target -> Arguments.of(family, target)));
  }

  @ParameterizedTest(name = "{0}, {1}")
  @MethodSource("familiesAndLayouts")
  void aFamilyIsReadAndWrittenInEveryLayout(String family, Target target) throws IOException {
    Path source = Fixtures.golden(family);
    Path converted = OtherLayouts.convert(source, target, folder.resolve("converted"));
    try (Model model = load(converted)) {
      assertClose(logits(model, inputs(family)), golden(family).readFloats("logits"), "logits");
    }
    Map<Integer, List<Integer>> retained = retained(family);
    Provenance provenance = new Provenance("test", null, 0, null);
    MoeModels.writePruned(source, retained, provenance, folder.resolve("ofHub"), null);
    Path expected =
        OtherLayouts.convert(folder.resolve("ofHub"), target, folder.resolve("expected"));

    Path onDisk = folder.resolve("onDisk");
    MoeModels.writePruned(converted, retained, provenance, onDisk, null);
    assertThat(content(onDisk)).isEqualTo(content(expected));

    Path inMemory = folder.resolve("inMemory");
    try (Model model = float32(converted).optRetained(retained).load()) {
      float[] reference =
          SafetensorsFile.open(source.resolve("golden_pruned.safetensors")).readFloats("logits");
      assertClose(logits(model, inputs(family)), reference, "logits of the pruned model");
      MoeModels.save(model, inMemory);
    }
    assertThat(content(inMemory)).isEqualTo(content(expected));
  }

  private static Map<String, List<Object>> content(Path checkpoint) {
    SafetensorsFile file = SafetensorsFile.open(checkpoint.resolve("model.safetensors"));
    Map<String, List<Object>> content = new TreeMap<>();
    file.tensors()
        .forEach(
            (name, info) ->
                content.put(name, List.of(info.shape(), Arrays.hashCode(file.readFloats(name)))));
    return content;
  }

  /** Gate and up of single experts become rows in turn, which is another kernel in bfloat16. */
  @ParameterizedTest(name = "{0}")
  @ValueSource(strings = {"SINGLE", "PAIRS", "TURNED"})
  void alternatingExpertsAreReadInBfloat16(Target target) throws IOException {
    Path converted = OtherLayouts.convert(Fixtures.golden("gpt_oss"), target, folder.resolve("c"));
    try (Model model = float32(converted).optDataType(DataType.BFLOAT16).load();
        Model reference =
            float32(Fixtures.golden("gpt_oss")).optDataType(DataType.BFLOAT16).load()) {
      float[] expected = logits(reference, inputs("gpt_oss"));
      assertThat(relativeError(logits(model, inputs("gpt_oss")), expected)).isLessThan(1e-6);
    }
  }
}
