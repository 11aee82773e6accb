package io.winnow.examples.cli.prune;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.examples.cli.Cli;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code winnow calibrate}, and what {@code winnow prune} makes of its statistics. */
class StatisticsCommandsTest {
  @TempDir private static Path folder;

  private static Path code;
  private static Path prose;
  private static Path statistics;
  private static Cli.Result calibrated;

  @BeforeAll
  static void calibrate() {
    code = write("code");
    prose = write("prose");
    statistics = folder.resolve("code.winnow");
    calibrated = Cli.succeed("calibrate --model MODEL --calib {} --out {}", code, statistics);
  }

  private static Path write(String domain) {
    return Cli.writeIds(
        folder.resolve(domain + ".safetensors"),
        Fixtures.naeeTokens("calib." + domain).slice(0, 4));
  }

  private static Cli.Result prune(String options, Object... values) {
    return Cli.succeed("prune --model MODEL " + options, values);
  }

  private static void assertSameFiles(Path one, Path other) {
    assertThat(Cli.below(one)).isEqualTo(Cli.below(other));
    for (String name : Cli.below(one)) {
      if (!name.isEmpty()) {
        assertThat(one.resolve(name)).hasSameBinaryContentAs(other.resolve(name));
      }
    }
  }

  private static long bytes(Path checkpoint) {
    return Checkpoint.open(checkpoint).tensors().values().stream()
        .mapToLong(TensorInfo::length)
        .sum();
  }

  /** The experts of each layer by a report. */
  private static List<Integer> kept(Path report) {
    List<Integer> kept = new ArrayList<>();
    for (var layer : Cli.json(report).getAsJsonArray("layers")) {
      kept.add(layer.getAsJsonObject().getAsJsonArray("kept").size());
    }
    return kept;
  }

  @Test
  void calibratingSaysWhatItHasSeen() {
    assertThat(calibrated.out())
        .startsWith("4 layers, 1024 tokens, ")
        .contains("Written to " + statistics);
    assertThat(calibrated.err()).contains("Calibrating on 4 sequences of 256 tokens");
  }

  @ParameterizedTest
  @ValueSource(strings = {"reconstruction", "reap", "random"})
  void pruningByStatisticsGivesTheFolderOfPruningByTheCalibrationByteForByte(String method) {
    Path direct = folder.resolve(method + "-direct");
    Path stored = folder.resolve(method + "-stored");
    String option = "--method=" + method;
    prune("--calib {} {} --seed 3 --retain 5 --out {}", code, option, direct);
    prune("--stats {} {} --seed 3 --retain 5 --out {}", statistics, option, stored);
    assertSameFiles(stored, direct);
  }

  @Test
  void theGroupsOfSequencesAreThoseOfTheStatistics() {
    Path grouped = folder.resolve("grouped.winnow");
    Cli.succeed("calibrate --model MODEL --calib {} --group-sequences 2 --out {}", code, grouped);
    Path direct = folder.resolve("grouped-direct");
    prune(
        "--calib {} --group-sequences 2 --retain 4 --out {} --report {}",
        code,
        direct,
        folder.resolve("direct.json"));
    Path stored = folder.resolve("grouped-stored");
    prune(
        "--stats {} --retain 4 --out {} --report {}",
        grouped,
        stored,
        folder.resolve("stored.json"));
    assertSameFiles(stored, direct);
    assertThat(Cli.json(folder.resolve("stored.json")).getAsJsonArray("layers").get(0))
        .satisfies(
            layer ->
                assertThat(layer.getAsJsonObject().get("loss"))
                    .isEqualTo(
                        Cli.json(folder.resolve("direct.json"))
                            .getAsJsonArray("layers")
                            .get(0)
                            .getAsJsonObject()
                            .get("loss")));
  }

  @Test
  void aTotalIsDividedAmongTheLayersAndOnlyWinnowReadsTheResult() {
    Path out = folder.resolve("total");
    Path report = folder.resolve("total.json");
    prune("--stats {} --total 20 --out {} --report {}", statistics, out, report);
    assertThat(kept(report).stream().mapToInt(Integer::intValue).sum()).isEqualTo(20);
    assertThat(kept(report)).allSatisfy(retained -> assertThat(retained).isBetween(2, 8));
    assertThat(kept(report).stream().distinct().count()).as("%s", kept(report)).isGreaterThan(1);
    assertThat(Cli.json(out.resolve("config.json")).get("model_type").getAsString())
        .isEqualTo("winnow_mixtral");
    Path direct = folder.resolve("total-direct");
    prune("--calib {} --total 20 --out {}", code, direct);
    assertSameFiles(direct, out);
    Cli.succeed("evaluate --model {} --text {} --windows 1", out, code);
  }

  @Test
  void aSizeKeepsTheMostExpertsWhoseTensorsFit() {
    Path out = folder.resolve("size");
    Path report = folder.resolve("size.json");
    prune("--stats {} --size 5.5 --out {} --report {}", statistics, out, report);
    long perExpert =
        (bytes(Fixtures.TINY_MIXTRAL) - bytes(Fixtures.TINY_MIXTRAL_R4)) / (4 * (8 - 4));
    assertThat(bytes(out)).isBetween(5_500_000 - perExpert + 1, 5_500_000L);
  }

  @Test
  void aMixedCalibrationSaysWhatEachSourcePays() {
    Path report = folder.resolve("mixed.json");
    Cli.Result result =
        prune(
            "--calib {} --calib {} --sequences 4 --retain 4 --out {} --report {}",
            code + ":0.75",
            prose + ":0.25",
            folder.resolve("mixed"),
            report);
    assertThat(result.err())
        .contains("Calibrating on 3 of code.safetensors, 1 of prose.safetensors");
    assertThat(result.out())
        .contains("on code.safetensors (768 tokens): ", "on prose.safetensors (256 tokens): ");
    JsonArray parts = Cli.json(report).getAsJsonArray("parts");
    assertThat(parts).hasSize(2);
    JsonObject second = parts.get(1).getAsJsonObject();
    assertThat(second.get("name").getAsString()).isEqualTo("prose.safetensors");
    assertThat(second.get("relative_loss").getAsDouble()).isBetween(0.0, 1.0);
  }

  @Test
  void theWeightOfOneSourceSaysNothing() {
    Path plain = folder.resolve("plain");
    prune("--calib {} --retain 6 --out {}", code, plain);
    Path weighted = folder.resolve("weighted");
    prune("--calib {} --retain 6 --out {}", code + ":0.7", weighted);
    assertSameFiles(weighted, plain);
  }

  @Test
  void statisticsOfAnotherModelAreRefused() {
    Path out = folder.resolve("other");
    Cli.Result result =
        Cli.run(
            "prune --model {} --stats {} --retain 4 --out {}",
            Fixtures.TINY_MIXTRAL_R4,
            statistics,
            out);
    assertThat(result.code()).isEqualTo(2);
    assertThat(result.complaints()).singleElement().asString().contains("are of another model");
    assertThat(out).doesNotExist();
  }
}
