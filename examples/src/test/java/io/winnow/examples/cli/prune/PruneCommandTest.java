package io.winnow.examples.cli.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.examples.cli.Cli;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code winnow prune} as NAEE's reference does it, and {@code winnow apply} of its plan. */
class PruneCommandTest {
  @TempDir private static Path folder;

  private static Path calib;
  private static Path out;
  private static Path report;
  private static Path plan;
  private static Cli.Result result;

  @BeforeAll
  static void prune() {
    calib = Cli.writeIds(folder.resolve("calib.safetensors"), Fixtures.naeeTokens("calib.code"));
    out = folder.resolve("r4");
    report = folder.resolve("report.json");
    plan = folder.resolve("plan.json");
    result =
        Cli.succeed(
            "prune --model MODEL --calib {} --group-sequences 8 --retain 4 --out {}"
                + " --report {} --plan {}",
            calib,
            out,
            report,
            plan);
  }

  private record Tensor(String type, List<Long> shape, byte[] bytes) {}

  private static Map<String, Tensor> tensors(Path checkpoint) {
    Map<String, Tensor> tensors = new TreeMap<>();
    for (TensorInfo info : Checkpoint.open(checkpoint).tensors().values()) {
      var buffer = SafetensorsFile.open(info.file()).read(info.name());
      byte[] bytes = new byte[buffer.remaining()];
      buffer.get(bytes);
      tensors.put(info.name(), new Tensor(info.type().name(), info.shape(), bytes));
    }
    return tensors;
  }

  private static void assertReferenceTensors(Path checkpoint) {
    Map<String, Tensor> actual = tensors(checkpoint);
    Map<String, Tensor> expected = tensors(Fixtures.TINY_MIXTRAL_R4);
    assertThat(actual).containsOnlyKeys(expected.keySet());
    expected.forEach(
        (name, tensor) -> {
          assertThat(actual.get(name).type()).as(name).isEqualTo(tensor.type());
          assertThat(actual.get(name).shape()).as(name).isEqualTo(tensor.shape());
          assertThat(actual.get(name).bytes()).as(name).isEqualTo(tensor.bytes());
        });
  }

  private static void assertConfigOfSource(Path checkpoint) {
    JsonObject expected = Cli.json(Fixtures.TINY_MIXTRAL.resolve("config.json"));
    expected.addProperty("num_local_experts", 4);
    JsonObject actual = Cli.json(checkpoint.resolve("config.json"));
    assertThat(actual.remove("winnow")).isInstanceOf(JsonObject.class);
    assertThat(actual).isEqualTo(expected);
  }

  private static List<Integer> integers(JsonElement array) {
    List<Integer> integers = new ArrayList<>();
    array.getAsJsonArray().forEach(element -> integers.add(element.getAsInt()));
    return integers;
  }

  private static JsonArray reference() {
    return Cli.json(Fixtures.NAEE_REFERENCE)
        .getAsJsonObject("layerwise")
        .getAsJsonObject("code")
        .getAsJsonObject("r4")
        .getAsJsonArray("layers");
  }

  @Test
  void theTensorsAreByteForByteThoseThatTransformersWroteAfterTheReferencesChoice() {
    assertReferenceTensors(out);
  }

  @Test
  void theConfigDiffersFromTheSourcesInTheNumberOfExpertsAndTheProvenance() {
    assertConfigOfSource(out);
    JsonObject winnow = Cli.json(out.resolve("config.json")).getAsJsonObject("winnow");
    assertThat(winnow.get("method").getAsString()).isEqualTo("reconstruction");
    assertThat(winnow.get("calibration").getAsString()).startsWith("sha256:");
    assertThat(winnow.get("source").getAsString()).startsWith("sha256:");
    assertThat(winnow.get("seed").getAsLong()).isZero();
    assertThat(winnow.get("version").getAsString()).isNotEmpty();
  }

  @ParameterizedTest
  @ValueSource(strings = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"})
  void otherFilesAreCarriedAlongUnchanged(String name) {
    assertThat(out.resolve(name)).hasSameBinaryContentAs(Fixtures.TINY_MIXTRAL.resolve(name));
  }

  @Test
  void theReportGivesEveryLayersChoiceAndTheLossOfEverySubset() {
    JsonArray layers = Cli.json(report).getAsJsonArray("layers");
    JsonArray reference = reference();
    assertThat(layers).hasSize(4);
    for (int i = 0; i < 4; i++) {
      JsonObject layer = layers.get(i).getAsJsonObject();
      JsonObject expected = reference.get(i).getAsJsonObject();
      assertThat(layer.get("layer").getAsInt()).isEqualTo(i);
      assertThat(layer.get("kept")).isEqualTo(expected.get("best_kept"));
      assertThat(layer.get("dropped")).isEqualTo(expected.get("best_dropped"));
      assertThat(layer.get("exact").getAsBoolean()).isTrue();
      double loss = expected.get("best_loss").getAsDouble();
      assertThat(layer.get("loss").getAsDouble()).isCloseTo(loss, within(1e-4 * loss));
      assertThat(layer.get("relative_loss").getAsDouble()).isBetween(0.0, 1.0);
      JsonObject losses = layer.getAsJsonObject("losses");
      JsonObject expectedLosses = expected.getAsJsonObject("loss");
      assertThat(losses.keySet()).isEqualTo(expectedLosses.keySet()).hasSize(70);
      for (String dropped : losses.keySet()) {
        double wanted = expectedLosses.get(dropped).getAsDouble();
        assertThat(losses.get(dropped).getAsDouble())
            .as(dropped)
            .isCloseTo(wanted, within(1e-4 * wanted));
      }
    }
  }

  @Test
  void thePlanGivesTheRetainedExpertsOfEveryLayer() {
    JsonObject json = Cli.json(plan);
    assertThat(json.get("version").getAsInt()).isEqualTo(1);
    JsonObject retained = json.getAsJsonObject("retained");
    assertThat(retained.keySet()).containsExactly("0", "1", "2", "3");
    for (int i = 0; i < 4; i++) {
      assertThat(integers(retained.get(String.valueOf(i))))
          .isEqualTo(integers(reference().get(i).getAsJsonObject().get("best_kept")));
    }
  }

  @Test
  void standardOutputHasTheResultAndStandardErrorTheProgress() {
    assertThat(result.out())
        .contains("layer", "kept", "dropped", "reconstruction on 4096 tokens", "Written to " + out)
        .doesNotContain("Calibrating", "Loading");
    assertThat(result.out().lines()).hasSize(7);
    assertThat(result.err())
        .contains("Calibrating on 16 sequences of 256 tokens: all there are, 128 were wanted")
        .contains("Loading: done", "Calibrating: done")
        .doesNotContain("\r");
  }

  @Test
  void applyingThePlanGivesTheSameFolderWithoutATokenizer() throws Exception {
    Path source = Cli.copyModel(folder.resolve("no-tokenizer"));
    Files.delete(source.resolve("tokenizer.json"));
    Path applied = folder.resolve("applied");
    Cli.Result apply = Cli.succeed("apply --model {} --plan {} --out {}", source, plan, applied);
    assertThat(apply.out()).isEqualTo("Written to " + applied + System.lineSeparator());
    assertReferenceTensors(applied);
    assertConfigOfSource(applied);
    assertThat(applied.resolve("tokenizer.json")).doesNotExist();
    assertThat(applied.resolve("config.json")).hasSameTextualContentAs(out.resolve("config.json"));
  }

  @Test
  void aPlanWrittenByHandNeedsOnlyItsVersionAndTheRetainedExperts() throws Exception {
    Path minimal = folder.resolve("minimal.json");
    Files.writeString(
        minimal, "{\"version\": 1, \"retained\": " + Cli.json(plan).get("retained") + "}");
    Path applied = folder.resolve("by-hand");
    Cli.succeed("apply --model MODEL --plan {} --out {}", minimal, applied);
    assertReferenceTensors(applied);
    assertConfigOfSource(applied);
  }

  @Test
  void reportAndPlanMayLieInTheNewFolder() {
    Path target = folder.resolve("all-in-one");
    Cli.succeed(
        "prune --model MODEL --calib {} --sequences 2 --length 32 --retain 6"
            + " --method frequency --out {} --report {} --plan {}",
        calib,
        target,
        target.resolve("report.json"),
        target.resolve("plan.json"));
    assertThat(Cli.json(target.resolve("report.json")).get("method").getAsString())
        .isEqualTo("frequency");
    assertThat(Cli.json(target.resolve("report.json")).getAsJsonArray("layers"))
        .allSatisfy(layer -> assertThat(layer.getAsJsonObject().has("losses")).isFalse());
    assertThat(Cli.json(target.resolve("plan.json")).getAsJsonObject("retained").size())
        .isEqualTo(4);
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void reportAndPlanMayBeReadByWhoeverMayReadANewFile() throws Exception {
    Path ordinary = Files.writeString(folder.resolve("ordinary"), "");
    assertThat(Files.getPosixFilePermissions(report))
        .isEqualTo(Files.getPosixFilePermissions(plan))
        .isEqualTo(Files.getPosixFilePermissions(ordinary));
  }

  @ParameterizedTest(name = "{0}")
  @ValueSource(
      strings = {
        "--method=random --seed=3",
        "--method=soft-activation --dtype=bfloat16",
        "--method=reconstruction --progressive --dtype=bfloat16"
      })
  void everyMethodPrunes(String options) {
    Path target = folder.resolve("method" + options.hashCode());
    Cli.succeed(
        "prune --model MODEL --calib {} --sequences 2 --length 32 --retain 5 --out {} " + options,
        calib,
        target);
    assertThat(Cli.json(target.resolve("config.json")).get("num_local_experts").getAsInt())
        .isEqualTo(5);
  }

  @Test
  void textIsTokenisedByTheModelsTokenizerAndSampledBySeed() {
    Path target = folder.resolve("text");
    Cli.Result text =
        Cli.succeed(
            "prune --model MODEL --calib {} --sequences 2 --length 64 --seed 5 --retain"
                + " 7 --out {}",
            Fixtures.TEXT.resolve("code.calib.txt"),
            target);
    assertThat(text.err()).containsPattern("Calibrating on 2 of \\d+ blocks of 64 tokens, sampled");
    assertThat(text.out()).contains("on 128 tokens");
  }
}
