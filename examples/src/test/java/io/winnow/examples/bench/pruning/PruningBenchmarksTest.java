package io.winnow.examples.bench.pruning;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import io.winnow.examples.cli.Cli;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code winnow bench search}, {@code many-experts} and {@code merge}. */
class PruningBenchmarksTest {
  @TempDir private Path folder;

  @ParameterizedTest(name = "{0}")
  @ValueSource(strings = {"random", "routed"})
  void benchManyExpertsFindsTheBestOfAllThatItCompares(String layer) {
    Path json = folder.resolve("bench.json");
    Cli.Result result =
        Cli.succeed(
            "bench many-experts --hidden 24 --intermediate 16 --experts 20 --top-k 3"
                + " --tokens 100 --retain 10 --layer {} --json {}",
            layer,
            json);
    assertThat(result.out()).contains("best of 5000 random", "greedy elimination", "best: yes");
    assertThat(Cli.json(json).get("best").getAsBoolean()).isTrue();
    assertThat(Cli.json(json).get("loss").getAsDouble()).isPositive();
    assertThat(Cli.json(json).getAsJsonObject("other_losses").keySet())
        .contains("reap", "leave-one-out", "frequency", "soft-activation");
  }

  @Test
  void benchSearchFindsTheSameExpertsAsARunPerSubset() {
    Path json = folder.resolve("bench.json");
    Cli.Result result =
        Cli.succeed(
            "bench search --hidden 32 --intermediate 48 --experts 6 --tokens 96"
                + " --retain 3 --repeat 3 --json {}",
            json);
    JsonObject object = Cli.json(json);
    assertThat(object.get("same_choice").getAsBoolean()).isTrue();
    assertThat(object.get("speedup").getAsDouble()).isPositive();
    assertThat(object.getAsJsonArray("seconds")).hasSize(3);
    assertThat(object.getAsJsonArray("baseline_seconds")).hasSize(3);
    assertThat(object.has("peak_extra_bytes")).isTrue();
    assertThat(object.get("matrix_products_seconds").getAsDouble()).isPositive();
    assertThat(result.out())
        .contains("matrix products alone", "speed-up", "same choice: yes", "a run per subset");
    assertThat(result.err()).contains("ours: ");
  }

  @Test
  void benchMergeComparesTheRunningModelWithAFolder() {
    Path json = folder.resolve("merge.json");
    Cli.Result result =
        Cli.succeed(
            "bench merge --model MODEL --retain 4 --repeat 2 --scratch {} --json {}", folder, json);
    JsonObject object = Cli.json(json);
    assertThat(object.getAsJsonArray("seconds")).hasSize(2);
    assertThat(object.getAsJsonArray("baseline_seconds")).hasSize(2);
    assertThat(object.get("ratio").getAsDouble()).isPositive();
    assertThat(object.get("reading_seconds").getAsDouble()).isPositive();
    assertThat(result.out())
        .contains(
            "reading the bytes alone",
            "into the running model",
            "merged, written, loaded",
            "ratio");
    assertThat(folder).isDirectoryNotContaining(path -> path.toString().contains("winnow-merge"));
  }
}
