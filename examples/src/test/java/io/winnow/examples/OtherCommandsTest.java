package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.Generator;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code winnow generate}, {@code winnow bench search} and {@code winnow demo}. */
class OtherCommandsTest {
  @TempDir private Path folder;

  @Test
  void generateDrawsByItsOptionsAndStops() {
    String[] drawing = {
      "generate",
      "--model",
      Cli.MODEL.toString(),
      "--prompt",
      "def ",
      "--max-tokens",
      "24",
      "--temperature",
      "0.9",
      "--top-k",
      "50",
      "--top-p",
      "0.95",
      "--min-p",
      "0.01",
      "--repetition-penalty",
      "1.1",
      "--stop",
      "\n",
      "--seed"
    };
    String first = Cli.succeed(Stream.concat(Stream.of(drawing), Stream.of("3")).toArray()).out();
    assertThat(first).startsWith("def ");
    assertThat(first.strip()).doesNotContain("\n");
    assertThat(Cli.succeed(Stream.concat(Stream.of(drawing), Stream.of("3")).toArray()).out())
        .isEqualTo(first);
    assertThat(Cli.succeed(Stream.concat(Stream.of(drawing), Stream.of("4")).toArray()).out())
        .isNotEqualTo(first);
    Cli.Result refused =
        Cli.run("generate", "--model", Cli.MODEL, "--prompt", "a", "--temperature", "-1");
    assertThat(refused.code()).isEqualTo(Winnow.BAD_INPUT);
    assertThat(refused.complaints()).hasSize(1);
  }

  @Test
  void generatePrintsThePromptAndTheGreedyContinuationOfTheLibrary() {
    String prompt = "def test_";
    String expected;
    try (TextTokenizer tokenizer = TextTokenizer.open(Fixtures.TINY_MIXTRAL);
        Model model =
            MoeModels.loader(Fixtures.TINY_MIXTRAL)
                .optDevice(Device.cpu())
                .optDataType(DataType.FLOAT32)
                .load()) {
      long[] ids = tokenizer.encodeWithSpecialTokens(prompt);
      expected = prompt + tokenizer.decode(Generator.of(model).generate(ids, 20));
    }
    for (int run = 0; run < 2; run++) {
      Cli.Result result =
          Cli.succeed("generate", "--model", Cli.MODEL, "--prompt", prompt, "--max-tokens", 20);
      assertThat(result.out()).isEqualTo(expected + System.lineSeparator());
    }
  }

  @Test
  void aPromptMayBeginWithAnAtSign() {
    assertThat(
            Cli.succeed(
                    "generate", "--model", Cli.MODEL, "--prompt", "@" + folder, "--max-tokens", 1)
                .out())
        .startsWith("@" + folder);
  }

  @ParameterizedTest(name = "{0}")
  @ValueSource(strings = {"random", "routed"})
  void benchManyExpertsFindsTheBestOfAllThatItCompares(String layer) {
    Path json = folder.resolve("bench.json");
    Cli.Result result =
        Cli.succeed(
            "bench",
            "many-experts",
            "--hidden",
            24,
            "--intermediate",
            16,
            "--experts",
            20,
            "--top-k",
            3,
            "--tokens",
            100,
            "--retain",
            10,
            "--layer",
            layer,
            "--json",
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
            "bench",
            "search",
            "--hidden",
            32,
            "--intermediate",
            48,
            "--experts",
            6,
            "--tokens",
            96,
            "--retain",
            3,
            "--repeat",
            3,
            "--json",
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
            "bench",
            "merge",
            "--model",
            Cli.MODEL,
            "--retain",
            4,
            "--repeat",
            2,
            "--scratch",
            folder,
            "--json",
            json);
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

  @Test
  void demoShowsWhatPruningDoesToTheBundledModel() {
    Path home = Path.of("").toAbsolutePath();
    Cli.Result result = Cli.succeed("demo", "--home", home);
    assertThat(result.out())
        .containsPattern("experts per layer +8 +6 +-25\\.0 %")
        .containsPattern("checkpoint, MB +\\d+\\.\\d\\d +\\d+\\.\\d\\d +-\\d")
        .containsPattern("perplexity on code +\\d+\\.\\d\\d +\\d+\\.\\d\\d +\\+\\d")
        .containsPattern("perplexity on prose +\\d+\\.\\d\\d +\\d+\\.\\d\\d +\\+\\d")
        .containsPattern("evaluation, seconds +\\d")
        .containsPattern("tokens per second +\\d")
        .contains("and with about half of the second experts skipped:")
        .containsPattern("skipped in layer 3, % +[45]\\d\\.\\d")
        .contains("--- 8 experts:", "--- 6 experts:", "def test_");
    assertThat(home.resolve("target/demo/tiny-mixtral-r6/model.safetensors")).exists();
  }
}
