package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code winnow inspect}. */
class InspectCommandTest {
  @TempDir private Path folder;

  @Test
  void aTableSaysWhatIsThereAndWhatFewerExpertsNeed() {
    Cli.Result result = Cli.succeed("inspect --model MODEL");
    assertThat(result.err()).isEmpty();
    assertThat(result.out().replaceAll(" +", " ").lines())
        .contains(
            "family mixtral, 4 layers, all with experts",
            "experts 8 a layer, top-2, intermediate size 256",
            "shared none",
            "stored as BF16 7.22 MB",
            "active 1.12 M of 3.61 M parameters a token",
            "router 4.10 K 8.19 KB",
            "routed experts 3.15 M 6.29 MB",
            "total 3.61 M 7.22 MB",
            "experts on disk in BF16 in F32")
        .anyMatch(line -> line.startsWith("8 7.22 MB"))
        .anyMatch(line -> line.startsWith("6 5.64 MB"))
        .anyMatch(line -> line.startsWith("4 4.07 MB"));
  }

  @ParameterizedTest
  @CsvSource({"deepseek_v3, '12,8'", "gpt_oss, '8,6,4'", "llama4, '8,6,4'", "qwen2_moe, '8,6,4'"})
  void theJsonSaysTheSame(String family, String retained) {
    Path json = folder.resolve("summary.json");
    Path model = Fixtures.golden(family);
    Cli.succeed("inspect --model {} --json {}", model, json);
    JsonObject summary = Cli.json(json);
    assertThat(summary.get("model_type").getAsString()).startsWith(family);
    long bytes = 0;
    for (JsonElement part : summary.getAsJsonObject("parts").asMap().values()) {
      bytes += part.getAsJsonObject().get("bytes").getAsLong();
    }
    assertThat(summary.getAsJsonObject("total").get("bytes").getAsLong()).isEqualTo(bytes);
    assertThat(summary.getAsJsonArray("footprints"))
        .extracting(row -> row.getAsJsonObject().get("retained").getAsString())
        .containsExactly(retained.split(","));
    assertThat(summary.keySet())
        .contains(
            "quantization",
            "layers",
            "moe_layers",
            "experts",
            "top_k",
            "groups",
            "expert_size",
            "shared_size",
            "compute_type",
            "bytes_by_type",
            "active_parameters");
  }

  @Test
  void whatIsNoCheckpointIsRefused() throws Exception {
    Path empty = Files.createDirectory(folder.resolve("empty"));
    Cli.Result result = Cli.run("inspect --model {}", empty);
    assertThat(result.code()).isEqualTo(Winnow.BAD_INPUT);
    assertThat(result.complaints()).hasSize(1);
    assertThat(result.out()).isEmpty();
    Path json = folder.resolve("missing/summary.json");
    assertThat(Cli.run("inspect --model MODEL --json {}", json).complaints())
        .singleElement()
        .asString()
        .contains("--json");
  }
}
