package io.winnow.examples.cli.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.Fixtures;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.examples.cli.Cli;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code winnow forward} against Hugging Face Transformers. */
class ForwardCommandTest {
  @TempDir private Path folder;

  private Path forward(Object model, String options) {
    TokenSequences ids = Fixtures.tokens(Fixtures.TINY_MIXTRAL_GOLDEN, "input_ids");
    Path input = Cli.writeIds(folder.resolve("ids.safetensors"), ids);
    Path out = folder.resolve("logits.safetensors");
    assertThat(
            Cli.succeed("forward --model {} --input {} --out {} " + options, model, input, out)
                .out())
        .isEqualTo("Written to " + out + System.lineSeparator());
    return out;
  }

  private static double greatestDifference(float[] actual, float[] expected) {
    assertThat(actual).hasSameSizeAs(expected);
    double greatest = 0;
    for (int i = 0; i < actual.length; i++) {
      greatest = Math.max(greatest, Math.abs((double) actual[i] - expected[i]));
    }
    return greatest;
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource({"full, 8", "naee_code_r4, 4"})
  void logitsAndRouterLogitsEqualTransformersInFloat32(String name, long experts) throws Exception {
    // A folder without tokenizer: token ids need none.
    Path model = folder.resolve("model");
    Files.createDirectories(model);
    Path source = name.equals("full") ? Fixtures.TINY_MIXTRAL : Fixtures.TINY_MIXTRAL_R4;
    for (String file : List.of("config.json", "model.safetensors")) {
      Files.copy(source.resolve(file), model.resolve(file));
    }
    Path out = forward(model, "");
    SafetensorsFile written = SafetensorsFile.open(out);
    assertThat(written.tensors().keySet())
        .containsExactlyInAnyOrder(
            "logits", "router_logits.0", "router_logits.1", "router_logits.2", "router_logits.3");
    assertThat(written.tensors().values())
        .extracting(TensorInfo::type)
        .containsOnly(TensorType.F32);
    assertThat(written.tensors().get("logits").shape()).containsExactly(2L, 64L, 1024L);
    for (String tensor : written.tensors().keySet()) {
      assertThat(
              greatestDifference(
                  written.readFloats(tensor),
                  Cli.floats(Fixtures.TINY_MIXTRAL_GOLDEN, name + "." + tensor)))
          .as(tensor)
          .isLessThan(1e-4);
    }
    assertThat(written.tensors().get("router_logits.0").shape()).containsExactly(128L, experts);
  }

  @Test
  void bfloat16IsWrittenAsFloat32AndClose() {
    float[] actual = Cli.floats(forward(Cli.MODEL, "--dtype bfloat16"), "logits");
    float[] expected = Cli.floats(Fixtures.TINY_MIXTRAL_GOLDEN, "full.logits");
    double error = 0;
    double norm = 0;
    for (int i = 0; i < expected.length; i++) {
      error += Math.pow((double) actual[i] - expected[i], 2);
      norm += Math.pow(expected[i], 2);
    }
    assertThat(Math.sqrt(error / norm)).isGreaterThan(0).isLessThan(2e-2);
  }
}
