package io.winnow.examples.cli.prune;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.examples.cli.Cli;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code winnow narrow}, {@code winnow shrink}, {@code winnow prune --repair}. */
class ShrinkCommandsTest {
  @TempDir private Path folder;

  private Path ids() {
    return Cli.writeIds(
        folder.resolve("ids.safetensors"), Fixtures.naeeTokens("calib.code").slice(0, 4));
  }

  @Test
  void aNarrowedModelIsWrittenAndItsPlanCutsAnotherCopyAlike() {
    Path out = folder.resolve("narrow");
    Path plan = folder.resolve("plan.json");
    Cli.Result result =
        Cli.succeed(
            "narrow --model MODEL --calib {} --share 0.5 --no-repair --out {} --plan {}",
            ids(),
            out,
            plan);
    assertThat(result.out()).contains("narrow-128 on 1024 tokens").contains("Written to " + out);
    JsonObject config = Cli.json(out.resolve("config.json"));
    assertThat(config.get("intermediate_size").getAsInt()).isEqualTo(128);
    assertThat(config.get("model_type").getAsString()).isEqualTo("mixtral");
    Path applied = folder.resolve("applied");
    Cli.succeed("apply --model MODEL --plan {} --out {}", plan, applied);
    assertThat(applied.resolve("model.safetensors"))
        .hasSameBinaryContentAs(out.resolve("model.safetensors"));
  }

  @Test
  void shrinkShowsWhatItTriedAndWritesTheBest() {
    Path out = folder.resolve("small");
    Path report = folder.resolve("report.json");
    Cli.Result result =
        Cli.succeed(
            "shrink --model MODEL --calib {} --keep 0.5 --out {} --report {}", ids(), out, report);
    assertThat(result.out())
        .contains("full ", "narrow ", "reconstruction ", "reap ", "<- written")
        .contains("within 50.0 % of the routed experts; compared on 256 tokens")
        .contains("Written to " + out);
    JsonObject json = Cli.json(report);
    assertThat(json.get("kind").getAsString()).isEqualTo("winnow-shrink-report");
    assertThat(json.getAsJsonArray("candidates").size()).isGreaterThanOrEqualTo(5);
  }

  @Test
  void prunedExpertsAreRepaired() {
    Path out = folder.resolve("repaired");
    Cli.Result result =
        Cli.succeed("prune --model MODEL --calib {} --retain 6 --repair --out {}", ids(), out);
    assertThat(result.out())
        .contains("reconstruction-repair on 1024 tokens")
        .contains("lambda")
        .contains("Written to " + out);
    assertThat(Cli.json(out.resolve("config.json")).get("num_local_experts").getAsInt())
        .isEqualTo(6);
  }
}
