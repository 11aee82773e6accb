package io.winnow.core.internal.decoder;

import static io.winnow.core.LoadedModels.load;
import static io.winnow.core.LoadedModels.logits;
import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.Fixtures;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.model.CheckpointSummary;
import io.winnow.core.model.CheckpointSummary.Part;
import io.winnow.core.model.CheckpointSummary.Size;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Set;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Dense blocks and shared experts with biases ({@code use_bias} of ERNIE, {@code mlp_bias} of
 * DeepSeek-V2) against Transformers 5.17 on random weights.
 */
class BiasedFeedForwardTest {
  @TempDir Path folder;

  private static Path folder(String name) {
    return Fixtures.golden(name + "_biased");
  }

  private static SafetensorsFile golden(String name) {
    return SafetensorsFile.open(folder(name).resolve("golden.safetensors"));
  }

  private static TokenSequences inputs(String name) {
    return Fixtures.tokens(folder(name).resolve("golden.safetensors"), "input_ids");
  }

  @ParameterizedTest(name = "{0}, fused = {1}")
  @CsvSource({
    "ernie4_5_moe, true",
    "ernie4_5_moe, false",
    "deepseek_v2, true",
    "deepseek_v2, false"
  })
  void logitsAndTextEqualTransformers(String name, boolean fused) {
    long[] expected = golden(name).readLongs("generated_ids");
    float[] wanted = golden(name).readFloats("logits");
    try (Model model = load(folder(name), DataType.FLOAT32, fused)) {
      float[] logits = logits(model, inputs(name));
      assertThat(logits).hasSameSizeAs(wanted);
      for (int i = 0; i < wanted.length; i++) {
        assertThat(Math.abs(logits[i] - wanted[i])).as("logit %d", i).isLessThan(1e-4f);
      }
      Generator generator = Generator.of(model).withEndTokens(Set.of());
      for (int i = 0; i < 2; i++) {
        assertThat(generator.generate(inputs(name).sequence(i), 8))
            .isEqualTo(Arrays.copyOfRange(expected, i * 8, (i + 1) * 8));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"ernie4_5_moe", "deepseek_v2"})
  void bfloat16StaysCloseToFloat32(String name) {
    float[] wanted = golden(name).readFloats("logits");
    try (Model model = load(folder(name), DataType.BFLOAT16, true)) {
      float[] logits = logits(model, inputs(name));
      double error = 0;
      double norm = 0;
      for (int i = 0; i < wanted.length; i++) {
        error += Math.pow(logits[i] - wanted[i], 2);
        norm += Math.pow(wanted[i], 2);
      }
      assertThat(Math.sqrt(error / norm)).isLessThan(3e-2);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"ernie4_5_moe", "deepseek_v2"})
  void pruningKeepsTheBiases(String name) {
    Path saved = folder.resolve("saved");
    try (Model model = load(folder(name), DataType.FLOAT32, true)) {
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 2, 3, 5));
      float[] logits = logits(model, inputs(name));
      MoeModels.save(model, saved);
      try (Model written = load(saved, DataType.FLOAT32, true)) {
        assertThat(logits(written, inputs(name))).isEqualTo(logits);
      }
    }
    CheckpointSummary summary = MoeModels.inspect(saved);
    assertThat(summary.total().bytes()).isEqualTo(Checkpoint.open(saved).bytes());
    assertThat(summary.parts().get(Part.OTHER)).isEqualTo(new Size(0, 0));
  }
}
