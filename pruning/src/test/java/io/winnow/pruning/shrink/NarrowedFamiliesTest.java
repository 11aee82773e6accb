package io.winnow.pruning.shrink;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LanguageModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Families whose experts lose channels, against what Hugging Face Transformers 5.17 computes with
 * the folders that the stored plans give (golden_narrowed.safetensors beside each family's model).
 */
class NarrowedFamiliesTest {
  @TempDir private Path folder;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "mixtral",
        "phimoe",
        "qwen2_moe",
        "qwen3_moe",
        "olmoe",
        "deepseek_v2",
        "deepseek_v3",
        "glm4_moe",
        "ernie4_5_moe",
        "gpt_oss",
        "granitemoe"
      })
  void aPlanGivesTheModelThatTransformersReads(String family) {
    Path source = Fixtures.golden(family);
    Path target = folder.resolve("narrowed");
    NarrowingPlan.read(source.resolve("narrowed.json")).apply(source, target, null);
    Path golden = source.resolve("golden_narrowed.safetensors");
    TokenSequences ids = Fixtures.tokens(golden, "input_ids");
    float[] expected = Fixtures.floats(golden, "logits");
    try (Model model = MoeModels.loader(target).optDataType(DataType.FLOAT32).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray input =
          manager.create(ids.flatten(0, ids.count()), new Shape(ids.count(), ids.length()));
      float[] logits =
          LanguageModel.of(model).logits(input, new ForwardObserver() {}).toFloatArray();
      assertThat(logits).hasSameSizeAs(expected);
      for (int i = 0; i < logits.length; i++) {
        assertThat(Math.abs(logits[i] - expected[i])).as("logit %d", i).isLessThan(1e-4f);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"mixtral", "deepseek_v3", "gpt_oss", "granitemoe"})
  void whatANarrowerWritesIsWhatItsPlanGives(String family) throws Exception {
    Path source = Fixtures.golden(family);
    int vocabulary = MoeModels.layerwise(source, tensor -> {}).vocabularySize();
    Random random = new Random(1);
    long[][] ids = new long[3][16];
    for (long[] sequence : ids) {
      for (int i = 0; i < sequence.length; i++) {
        sequence[i] = random.nextInt(vocabulary);
      }
    }
    Path narrowed = folder.resolve("narrowed");
    NarrowingReport report =
        ExpertNarrower.builder()
            .optRepair(false)
            .build()
            .narrow(source, Calibration.ofTokens(ids), 8, narrowed);
    Path applied = folder.resolve("applied");
    Path plan = folder.resolve("plan.json");
    report.plan().write(plan);
    assertThat(NarrowingPlan.read(plan)).isEqualTo(report.plan());
    NarrowingPlan.read(plan).apply(source, applied, null);
    assertThat(applied.resolve("model.safetensors"))
        .hasSameBinaryContentAs(narrowed.resolve("model.safetensors"));
    try (var left = Files.list(folder)) {
      assertThat(left.map(file -> file.getFileName().toString()))
          .containsExactlyInAnyOrder("narrowed", "applied", "plan.json");
    }
  }

  @Test
  void aSharedExpertOfTheSameFieldWithoutANumberCannotBeNarrowedBeside() {
    assertThatThrownBy(
            () -> MoeModels.layerwise(Fixtures.golden("llama4"), tensor -> {}).checkNarrow(8))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("shared expert")
        .hasMessageContaining("remove experts instead");
  }
}
