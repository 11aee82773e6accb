package io.winnow.examples.cli.prune;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.examples.cli.Cli;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code winnow sparsify}. */
class SparsifyCommandTest {
  @TempDir private Path folder;

  private Path ids() {
    return Cli.writeIds(
        folder.resolve("ids.safetensors"), Fixtures.naeeTokens("calib.code").slice(0, 4));
  }

  private static double perplexity(Path model) {
    String out =
        Cli.succeed(
                "evaluate --model {} --text {} --length 256 --windows 8",
                model,
                Fixtures.TEXT.resolve("code.valid.txt"))
            .out();
    return Double.parseDouble(out.replaceFirst("(?s).*perplexity ([0-9.]+).*", "$1"));
  }

  @Test
  void halfOfTheExpertsWeightsBecomeZeroAndTheModelStillReadsCode() {
    Path out = folder.resolve("sparse");
    Path report = folder.resolve("report.json");
    Cli.Result result =
        Cli.succeed(
            "sparsify --model MODEL --calib {} --pattern 2:4 --out {} --report {}",
            ids(),
            out,
            report);
    assertThat(result.out())
        .contains("393,216   50.0 %")
        .contains("wanda-2:4 on 1024 tokens")
        .contains("6,291,456 bytes, as many as before")
        .contains("3,538,944 in the 2:4 format of sparse tensor cores (computed, not written)")
        .contains("Written to " + out);
    JsonObject json = Cli.json(report);
    assertThat(json.get("zeros").getAsLong()).isEqualTo(4 * 393_216);
    assertThat(json.get("expert_bytes").getAsLong()).isEqualTo(6_291_456);
    float[] weights =
        Cli.floats(
            out.resolve("model.safetensors"),
            "model.layers.2.block_sparse_moe.experts.5.w2.weight");
    for (int i = 0; i < weights.length; i += 4) {
      int zeros = 0;
      for (int j = i; j < i + 4; j++) {
        zeros += weights[j] == 0 ? 1 : 0;
      }
      assertThat(zeros).isEqualTo(2);
    }
    double full = perplexity(Fixtures.TINY_MIXTRAL);
    assertThat(perplexity(out)).isBetween(1.05 * full, 1.6 * full);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "--pattern 4:4   | fewer than the group",
        "--pattern half  | 'half' is not known",
        "--pattern 0.5 --out DIR/missing/out | does not exist",
        "--pattern 0.5 --report DIR          | is a folder",
        "--pattern 3:6   | whole groups"
      })
  void badInputIsRefusedAndLeavesNothing(String options, String message) {
    Path ids = ids();
    List<String> before = Cli.below(folder);
    String arguments = "sparsify --model MODEL --calib {} " + options.replace("DIR", "" + folder);
    if (!options.contains("--out")) {
      arguments += " --out " + folder.resolve("out");
    }
    Cli.assertRefused(Cli.run(arguments, ids), message);
    assertThat(Cli.below(folder)).isEqualTo(before);
  }
}
