package io.winnow.examples.bench.speed;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.examples.cli.Cli;
import io.winnow.examples.cli.Winnow;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * {@code winnow bench prefill}, {@code decode}, {@code load} and {@code operations}: what they
 * report, with a script in the place of Python. How fast anything is, is not tested.
 */
class SpeedBenchmarksTest {
  private static final String HOME = Path.of("").toAbsolutePath().toString();

  @TempDir private Path folder;

  private Path json() {
    return folder.resolve("bench.json");
  }

  private Path script(String... lines) throws IOException {
    Path script = folder.resolve("python");
    Files.writeString(script, "#!/bin/sh\n" + String.join("\n", lines) + "\n");
    return Files.setPosixFilePermissions(script, PosixFilePermissions.fromString("rwx------"));
  }

  /** Answers as transformers_speed.py does: eager is the better one. */
  private Path answering() throws IOException {
    return script(
        "while read -r line; do",
        "  case $line in",
        "    *products*) echo '{\"seconds\": 0.5}' ;;",
        "    *) echo '{\"eager\": {\"prefill\": 1000.0, \"decode\": 2000.0},"
            + " \"grouped_mm\": {\"prefill\": 4000.0, \"decode\": 4000.0}}' ;;",
        "  esac",
        "done");
  }

  @ParameterizedTest
  @ValueSource(strings = {"float32", "bfloat16"})
  void prefillIsSetBesideItsProductsAndTheBestOther(String type) throws IOException {
    Cli.Result result =
        Cli.succeed(
            "bench prefill --model MODEL --dtype {} --batch 2 --prompt-tokens 16"
                + " --repeat 2 --python {} --home {} --json {}",
            type,
            answering(),
            HOME,
            json());
    JsonObject json = Cli.json(json());
    assertThat(json.get("tokens").getAsInt()).isEqualTo(32);
    assertThat(json.getAsJsonArray("seconds")).hasSize(2);
    JsonObject others = json.getAsJsonObject("baseline_seconds");
    assertThat(others.keySet()).containsExactly("Transformers, eager", "Transformers, grouped_mm");
    double first = json.getAsJsonArray("seconds").get(0).getAsDouble();
    double second = json.getAsJsonArray("seconds").get(1).getAsDouble();
    double ratio = (1000 / first + 1000 / second) / 2; // The median of two is their mean.
    assertThat(json.get("ratio").getAsDouble()).isCloseTo(ratio, within(1e-6 * ratio));
    assertThat(json.get("matrix_products_seconds_per_pass").getAsDouble()).isPositive();
    assertThat(json.get("baseline_matrix_products_seconds_per_pass").getAsDouble()).isEqualTo(0.5);
    assertThat(json.get("reading_share").getAsDouble()).isPositive();
    assertThat(result.out())
        .contains("matrix products alone", "reading their weights alone", "the best other's time");
  }

  @Test
  void decodingReadsTheWeightsOfAttentionRouterExpertsAndHeadOncePerToken() {
    Cli.succeed(
        "bench decode --model MODEL --prompt-tokens 8 --tokens 4 --repeat 1 --json" + " {}",
        json());
    JsonObject decode = Cli.json(json()).getAsJsonObject("decode");
    // Per layer: query and output 128 x 128, key and value 64 x 128, gate 8 x 128, two experts.
    long layer = 2 * 128 * 128 + 2 * 64 * 128 + 8 * 128 + 2 * 3 * 128 * 256;
    long parameters = 4 * layer + 1024 * 128;
    assertThat(decode.get("tokens").getAsInt()).isEqualTo(3);
    assertThat(decode.get("bytes_per_pass").getAsLong()).isEqualTo(4 * parameters);
    assertThat(decode.get("ratio").isJsonNull()).isTrue();
    assertThat(decode.getAsJsonObject("baseline_seconds").keySet()).isEmpty();
  }

  @Test
  void benchDecodeMeasuresAModelOfRandomWeights() throws IOException {
    Path model = folder.resolve("random");
    Cli.succeed(
        "bench checkpoint --out {} --layers 1 --hidden 128 --intermediate 64" + " --vocabulary 64",
        model);
    Path one = folder.resolve("one.json");
    Files.writeString(
        one, "{\"version\": 1, \"rule\": \"ratio\", \"layers\": [0], \"betas\": [1.0]}");
    Path result = folder.resolve("result.json");
    Cli.Result measured =
        Cli.succeed(
            "bench decode --model {} --dtype bfloat16 --prompt-tokens 4 --tokens 4"
                + " --batch 2 --repeat 1 --skip {} --json {}",
            model,
            one,
            result);
    assertThat(measured.out()).contains("with the policy").contains("no expert");
    assertThat(Cli.json(result).get("skip_rate").getAsDouble()).isEqualTo(1);
    assertThat(Cli.json(result).get("tokens_per_second").getAsDouble()).isPositive();
    for (String bad : new String[] {"--tokens=1", "--batch=0", "--prompt-tokens=5000"}) {
      assertThat(Cli.run("bench decode --model {} {}", model, bad).code())
          .isEqualTo(Winnow.BAD_INPUT);
    }
    assertThat(Cli.run("bench checkpoint --out {} --hidden 100", folder.resolve("x")).code())
        .isEqualTo(Winnow.BAD_INPUT);
    assertThat(Cli.run("bench checkpoint --out {} --stored I8", folder.resolve("x")).code())
        .isEqualTo(Winnow.BAD_INPUT);
  }

  @Test
  void withoutTensorsOfEachExpertTheFloorIsNotKnown() {
    Cli.Result result =
        Cli.succeed(
            "bench prefill --model {} --batch 1 --prompt-tokens 4 --repeat 1",
            Fixtures.golden("granitemoe"));
    assertThat(result.out()).contains("winnow", "is not known").doesNotContain("products alone");
  }

  @Test
  void aBaselineThatFailsIsNamedWithItsReason() throws IOException {
    Path failing = script("echo 'Traceback' >&2", "echo 'No module named torch' >&2", "exit 1");
    Cli.Result result =
        Cli.run(
            "bench prefill --model MODEL --batch 1 --prompt-tokens 4 --python {} --home" + " {}",
            failing,
            HOME);
    assertThat(result.code()).isEqualTo(Winnow.BAD_INPUT);
    assertThat(result.complaints())
        .singleElement()
        .asString()
        .contains(failing.toString(), "No module named torch");
  }

  @Test
  void aBaselineThatDoesNotStartIsRefusedBeforeTheModelIsLoaded() {
    for (String home : List.of(HOME, folder.toString())) {
      Cli.Result result =
          Cli.run("bench decode --model MODEL --python no-such-python --home {}", home);
      assertThat(result.code()).isEqualTo(Winnow.BAD_INPUT);
      assertThat(result.complaints())
          .singleElement()
          .asString()
          .contains(home.equals(HOME) ? "cannot start no-such-python" : "transformers_speed.py");
      assertThat(result.err()).doesNotContain("Loading");
    }
  }

  @Test
  void loadMeasuresAWholeProcessBesideLoadingAndReading() throws IOException {
    Cli.Result result =
        Cli.succeed(
            "bench load --model MODEL --repeat 1 --python {} --home {} --json {}",
            script("sleep 0.1; echo token"),
            HOME,
            json());
    JsonObject json = Cli.json(json());
    for (String figure :
        List.of("seconds", "baseline_seconds", "loading_seconds", "reading_seconds")) {
      assertThat(json.getAsJsonArray(figure)).hasSize(1);
      assertThat(json.getAsJsonArray(figure).get(0).getAsDouble()).isPositive();
    }
    double ours = json.getAsJsonArray("seconds").get(0).getAsDouble();
    double theirs = json.getAsJsonArray("baseline_seconds").get(0).getAsDouble();
    assertThat(json.get("ratio").getAsDouble()).isCloseTo(theirs / ours, within(1e-9));
    assertThat(result.out()).contains("first token", "loading takes", "reading the bytes alone");
  }

  @Test
  void operationsAreMeasuredByJmh() {
    Cli.Result result =
        Cli.succeed(
            "bench operations --model MODEL --forks 0 --iterations 1 --milliseconds 20"
                + " --json {}",
            json());
    assertThat(result.out()).contains("route2048Tokens", "lossOfASubset", "greedyToken");
    assertThat(Cli.json(json()).getAsJsonArray("operations"))
        .hasSize(4)
        .allSatisfy(
            each -> {
              assertThat(each.getAsJsonObject().get("score").getAsDouble()).isPositive();
              assertThat(each.getAsJsonObject().get("unit").getAsString()).isEqualTo("us/op");
            });
  }

  @ParameterizedTest
  @CsvSource({
    "prefill, --batch, 0, at least 1",
    "prefill, --threads, 0, at least 1",
    "prefill, --prompt-tokens, 100000, positions",
    "load, --repeat, 0, at least 1",
    "operations, --iterations, 0, at least 1"
  })
  void badOptionsAreRefused(String benchmark, String option, String value, String complaint) {
    Cli.Result result = Cli.run("bench {} --model MODEL {} {}", benchmark, option, value);
    assertThat(result.code()).isEqualTo(Winnow.BAD_INPUT);
    assertThat(result.complaints()).singleElement().asString().contains(complaint);
  }

  @Test
  void withoutJmhOperationsSayHowToBuildIt() {
    ServiceLoader<Operations> nothing =
        ServiceLoader.load(Operations.class, ClassLoader.getPlatformClassLoader());
    assertThatThrownBy(() -> OperationsCommand.operations(nothing))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("./mvnw -Pcpu,bench package");
  }

  @Test
  void speedUpsCompareWithTheBestOtherOfEachRound() {
    SpeedResult result =
        new SpeedResult(
            10,
            List.of(1.0, 2.0, 4.0),
            Map.of("a", List.of(2.0, 8.0, 4.0), "b", List.of(3.0, 6.0, 8.0)),
            new SpeedFloor.Seconds(0.5, 200, 100),
            null,
            2);
    assertThat(result.speedUps()).containsExactly(2.0, 3.0, 1.0);
    assertThat(result.toJson().get("ratio").getAsDouble()).isEqualTo(2);
    assertThat(result.toJson().get("matrix_products_share").getAsDouble()).isEqualTo(0.5);
    assertThat(result.toJson().get("reading_share").getAsDouble()).isEqualTo(2);
  }
}
