package io.winnow.examples.cli.prune;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.examples.cli.Cli;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code winnow prune --stream} and {@code winnow bench prune-stream}. */
class StreamCommandTest {
  @TempDir private static Path folder;

  /** In small what README's figures are measured on: bfloat16, several files. */
  private static Path model;

  private static Path calib;

  @BeforeAll
  static void writeModel() {
    model = folder.resolve("model");
    Cli.succeed(
        "bench checkpoint --out {} --layers 3 --hidden 128 --intermediate 448" + " --shard-mb 4",
        model);
    assertThat(Checkpoint.open(model).files()).hasSize(3);
    calib =
        Cli.writeIds(
            folder.resolve("calib.safetensors"), Fixtures.naeeTokens("calib.code").slice(0, 4));
  }

  private static Cli.Result prune(Path out, String options, Object... values) {
    return Cli.run(
        Cli.join(
            Cli.words(
                "prune --model {} --calib {} --length 64 --retain 6 --out {}", model, calib, out),
            Cli.words(options, values).toArray()));
  }

  @Test
  void theFolderReportAndPlanAreThoseOfPruningInMemory() throws IOException {
    Path memory = folder.resolve("memory");
    Path streamed = folder.resolve("streamed");
    Path plan = folder.resolve("plan.json");
    Path streamedPlan = folder.resolve("streamed-plan.json");
    assertThat(prune(memory, "--plan {}", plan).code()).isZero();
    Cli.Result result =
        prune(
            streamed,
            "--stream --devices cpu,cpu --memory 1 --plan {} --report {}",
            streamedPlan,
            folder.resolve("report.json"));
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(result.out()).contains("reconstruction on 256 tokens", "Written to " + streamed);
    assertThat(streamedPlan).hasSameBinaryContentAs(plan);
    assertThat(Cli.json(folder.resolve("report.json")).get("layers").getAsJsonArray()).hasSize(3);
    assertThat(Cli.below(streamed)).isEqualTo(Cli.below(memory));
    for (String name : Cli.below(memory)) {
      if (Files.isRegularFile(memory.resolve(name))) {
        assertThat(streamed.resolve(name)).hasSameBinaryContentAs(memory.resolve(name));
      }
    }
    Cli.assertRefused(prune(streamed, "--stream"), "exists already");
  }

  @Test
  void aDryRunSaysWhatItWillTakeAndMakesNothing() {
    Path out = folder.resolve("dry");
    Cli.Result result = prune(out, "--dry-run");
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(result.out())
        .contains("time ", "memory ", "disk       7 MB for the result", "Nothing was changed.");
    assertThat(out).doesNotExist();
    assertThat(out.resolveSibling(".dry.partial-prune")).doesNotExist();
  }

  @Test
  void aModelFitsIfItsWeightsDoInFloat32() {
    long weights =
        Checkpoint.open(model).tensors().values().stream().mapToLong(t -> t.elements()).sum();
    assertThat(StreamOptions.fits(model, 4 * weights)).isTrue();
    assertThat(StreamOptions.fits(model, 4 * weights - 1)).isFalse();
  }

  @Test
  void theBenchmarkCountsReadsAndLeavesNothing() {
    Path json = folder.resolve("bench.json");
    Path scratch = folder.resolve("scratch");
    assertThat(scratch.toFile().mkdir()).isTrue();
    Cli.Result result =
        Cli.succeed(
            "bench prune-stream --model {} --sequences 2 --length 64 --scratch {}" + " --json {}",
            model,
            scratch,
            json);
    assertThat(result.out()).contains("94 tensors, each read at most 1 time(s)");
    JsonObject measured = Cli.json(json);
    assertThat(measured.get("most_reads_of_a_tensor").getAsInt()).isEqualTo(1);
    assertThat(measured.get("bytes_written").getAsLong())
        .isLessThan(measured.get("bytes").getAsLong());
    assertThat(measured.get("seconds").getAsDouble()).isPositive();
    assertThat(Cli.below(scratch)).containsExactly("");
  }
}
