package io.winnow.examples.cli.measure;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.examples.cli.Cli;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code winnow compare}: rows as single commands give them, also after a kill. */
class CompareCommandTest {
  @TempDir private static Path folder;

  private static Path code;
  private static Path prose;
  private static Path valid;
  private static Path questions;
  private static Path first;
  private static Path out;
  private static Cli.Result result;

  @BeforeAll
  static void compare() throws Exception {
    code =
        Cli.writeIds(
            folder.resolve("code.safetensors"), Fixtures.naeeTokens("calib.code").slice(0, 2));
    prose =
        Cli.writeIds(
            folder.resolve("prose.safetensors"), Fixtures.naeeTokens("calib.prose").slice(0, 2));
    valid =
        Cli.writeIds(
            folder.resolve("valid.safetensors"), Fixtures.naeeTokens("valid.code").slice(0, 2));
    questions = folder.resolve("questions.jsonl");
    Files.write(
        questions,
        Files.readAllLines(Fixtures.task("code-train.jsonl")).stream().limit(4).toList());
    first = folder.resolve("first.jsonl");
    Files.write(first, Files.readAllLines(questions).subList(0, 3));
    out = folder.resolve("compared");
    result = Cli.succeed(words(out));
  }

  private static List<Object> words(Path target) {
    return Cli.words(
        "compare --model MODEL --calib {} --calib {} --retain 4"
            + " --methods reconstruction,random,reconstruction-progressive --seeds 2 --text {}"
            + " --tasks {} --questions 3 --skip --out {}",
        code,
        prose,
        valid,
        questions,
        target);
  }

  private static List<JsonObject> rows(Path target) {
    return Cli.json(target.resolve("comparison.json")).getAsJsonArray("rows").asList().stream()
        .map(JsonElement::getAsJsonObject)
        .toList();
  }

  private static JsonObject row(String method, String calibration, int retained, Integer seed) {
    return rows(out).stream()
        .filter(row -> row.get("method").getAsString().equals(method))
        .filter(row -> row.get("calibration").getAsString().equals(calibration))
        .filter(row -> row.get("retained").getAsInt() == retained)
        .filter(row -> seed == null || row.get("seed").getAsInt() == seed)
        .findFirst()
        .orElseThrow();
  }

  private static String key(JsonObject row) {
    return List.of("method", "calibration", "retained", "seed").stream()
        .map(column -> row.get(column).isJsonNull() ? "-" : row.get(column).getAsString())
        .collect(Collectors.joining(" "));
  }

  /** The rows without the times that they took. */
  private static List<JsonObject> withoutTimes(List<JsonObject> rows) {
    List<JsonObject> copies = rows.stream().map(JsonObject::deepCopy).toList();
    copies.forEach(row -> row.keySet().removeIf(column -> column.contains("second")));
    return copies;
  }

  @Test
  void theWholeModelIsFirstAndThenEveryCalibrationAndMethod() {
    assertThat(rows(out).stream().map(CompareCommandTest::key))
        .containsExactly(
            "unpruned code 8 -",
            "unpruned prose 8 -",
            "reconstruction code 4 -",
            "random code 4 0",
            "random code 4 1",
            "reconstruction-progressive code 4 -",
            "reconstruction prose 4 -",
            "random prose 4 0",
            "random prose 4 1",
            "reconstruction-progressive prose 4 -");
  }

  @Test
  void everyColumnIsInEveryRow() {
    JsonObject json = Cli.json(out.resolve("comparison.json"));
    assertThat(json.get("version").getAsInt()).isEqualTo(1);
    List<String> columns =
        json.getAsJsonArray("columns").asList().stream().map(JsonElement::getAsString).toList();
    assertThat(columns)
        .containsExactly(
            "method",
            "calibration",
            "retained",
            "seed",
            "bytes",
            "perplexity_valid",
            "tokens_per_second",
            "accuracy_questions",
            "skip_rate",
            "skipping_perplexity_valid",
            "skipping_tokens_per_second",
            "skipping_accuracy_questions",
            "choosing_seconds");
    for (JsonObject row : rows(out)) {
      Set<String> expected = new LinkedHashSet<>(columns);
      if (row.get("method").getAsString().equals("unpruned")) {
        expected.remove("choosing_seconds");
      } else {
        expected.add("kept");
      }
      assertThat(row.keySet()).as("%s", row).isEqualTo(expected);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"reconstruction", "random", "reconstruction-progressive"})
  void aRowIsWhatSingleCommandsGive(String method) {
    Path pruned = folder.resolve(method);
    Path plan = folder.resolve(method + ".json");
    Cli.succeed(
        "prune --model MODEL --calib {} --retain 4 --out {} --plan {} --method "
            + method.replace("-progressive", " --progressive")
            + (method.equals("random") ? " --seed 1" : ""),
        prose,
        pruned,
        plan);
    JsonObject row = row(method, "prose", 4, method.equals("random") ? 1 : null);
    assertThat(row.get("kept").getAsString())
        .isEqualTo(
            Cli.json(plan).getAsJsonObject("retained").entrySet().stream()
                .map(layer -> layer.getValue().toString().replaceAll("[\\[\\]]", ""))
                .collect(Collectors.joining(";")));
    assertThat(row.get("bytes").getAsLong())
        .isEqualTo(
            Checkpoint.open(pruned).tensors().values().stream()
                .mapToLong(TensorInfo::length)
                .sum());
    assertMeasuredAsAlone(row, pruned, prose);
  }

  @Test
  void theRowOfTheWholeModelIsWhatSingleCommandsGive() {
    JsonObject row = row("unpruned", "code", 8, null);
    assertThat(row.get("bytes").getAsLong())
        .isEqualTo(
            Checkpoint.open(Fixtures.TINY_MIXTRAL).tensors().values().stream()
                .mapToLong(TensorInfo::length)
                .sum());
    assertMeasuredAsAlone(row, Fixtures.TINY_MIXTRAL, code);
  }

  private static void assertMeasuredAsAlone(JsonObject row, Path model, Path calibration) {
    assertThat(row.get("perplexity_valid"))
        .isEqualTo(evaluate(model, "--text {}", valid).get("perplexity"));
    assertThat(row.get("accuracy_questions"))
        .isEqualTo(evaluate(model, "--tasks {}", first).get("acc"));
    Path policy = folder.resolve("policy.json");
    Cli.succeed("calibrate-skip --model {} --calib {} --out {}", model, calibration, policy);
    assertThat(row.get("skipping_perplexity_valid"))
        .isEqualTo(evaluate(model, "--text {} --skip {}", valid, policy).get("perplexity"));
    assertThat(row.get("skipping_accuracy_questions"))
        .isEqualTo(evaluate(model, "--tasks {} --skip {}", first, policy).get("acc"));
    assertThat(row.get("skip_rate").getAsDouble()).isBetween(0.2, 0.8);
  }

  private static JsonObject evaluate(Path model, String options, Object... values) {
    Path json = folder.resolve("evaluated.json");
    List<Object> what = Cli.words(options, values);
    Cli.succeed(Cli.join(Cli.words("evaluate --model {} --json {}", model, json), what.toArray()));
    return Cli.json(json);
  }

  @Test
  void theTableHasALineForEveryRowBelowTheColumnsNames() {
    List<String> lines = result.out().lines().toList();
    int header = 4; // skipping tokens per second
    assertThat(lines).hasSize(header + rows(out).size() + 1);
    assertThat(lines.get(header - 1)).startsWith("method ").endsWith(" seconds");
    assertThat(lines.get(header)).matches("unpruned +code +8 +- +7219456 +\\d+\\.\\d{3} .* -");
    assertThat(lines.get(lines.size() - 1))
        .isEqualTo("Written to " + out.resolve("comparison.json"));
  }

  /** Copies a comparison as if it had been killed: a part of the row after so many is written. */
  private static Path killedAfter(int rows, String name) throws Exception {
    Path target = Files.createDirectory(folder.resolve(name));
    List<String> lines = Files.readAllLines(out.resolve("rows.jsonl"));
    String whole = String.join("\n", lines.subList(0, rows + 1)) + "\n";
    Files.writeString(target.resolve("rows.jsonl"), whole + lines.get(rows + 1).substring(0, 20));
    return target;
  }

  @Test
  void afterAKillTheSameCommandGoesOnAndEndsWithTheSameRows() throws Exception {
    int finished = 4;
    Path target = killedAfter(finished, "killed");
    Cli.succeed(words(target));
    assertThat(withoutTimes(rows(target))).isEqualTo(withoutTimes(rows(out)));
    assertThat(rows(target).subList(0, finished)).isEqualTo(rows(out).subList(0, finished));
    assertThat(Files.readAllLines(target.resolve("rows.jsonl"))).hasSize(1 + rows(out).size());
  }

  @Test
  void statisticsOfARunBeforeAreReadInsteadOfCalibratingAgain() throws Exception {
    Path target = killedAfter(7, "calibrated");
    Files.copy(out.resolve("prose.winnow"), target.resolve("prose.winnow"));
    Cli.succeed(words(target));
    assertThat(withoutTimes(rows(target))).isEqualTo(withoutTimes(rows(out)));
    Path exchanged = killedAfter(2, "exchanged");
    Files.copy(out.resolve("prose.winnow"), exchanged.resolve("code.winnow"));
    Cli.assertRefused(Cli.run(words(exchanged)), "code.winnow is of another calibration");
  }

  @Test
  void aFinishedComparisonIsShownAgainWithoutAnyWork() throws Exception {
    byte[] before = Files.readAllBytes(out.resolve("rows.jsonl"));
    Cli.Result again = Cli.succeed(words(out));
    assertThat(again.out()).isEqualTo(result.out());
    assertThat(out.resolve("rows.jsonl")).hasBinaryContent(before);
  }

  @Test
  void anotherComparisonIsRefusedInTheSameFolder() throws Exception {
    byte[] before = Files.readAllBytes(out.resolve("rows.jsonl"));
    Cli.assertRefused(
        Cli.run(Cli.join(words(out), "--seed", 1)),
        "holds another comparison: seed is 0 there and 1 here");
    Cli.assertRefused(
        Cli.run(Cli.join(words(out), "--dtype", "bfloat16")), "holds another comparison: dtype is");
    assertThat(out.resolve("rows.jsonl")).hasBinaryContent(before);
  }

  @Test
  void aDamagedRowIsRefused() throws Exception {
    Path target = Files.createDirectory(folder.resolve("damaged"));
    List<String> lines = Files.readAllLines(out.resolve("rows.jsonl"));
    Files.writeString(target.resolve("rows.jsonl"), lines.get(0) + "\n{\"method\": \n");
    Cli.assertRefused(Cli.run(words(target)), "is damaged: this line is no row");
  }

  @Test
  void aFolderInWhichAnotherComparisonWorksIsRefused() throws Exception {
    Path target = killedAfter(1, "locked");
    try (FileChannel other =
        FileChannel.open(target.resolve("rows.jsonl"), StandardOpenOption.WRITE)) {
      assertThat(other.lock().isValid()).isTrue();
      Cli.assertRefused(Cli.run(words(target)), "another comparison is writing");
    }
  }

  @Test
  void withoutSkippingWhatNeedsNoCalibrationHasOneRowForEachNumber() {
    Path target = folder.resolve("plain");
    Cli.succeed(
        "compare --model MODEL --calib {} --calib {} --calib {} --calib {} --length"
            + " 64 --retain 6,4 --methods random,frequency --seeds 1 --text {} --windows"
            + " 1 --out {}",
        "a=" + code,
        "b=" + prose,
        "both=" + code + ":0.5",
        "both=" + prose + ":0.5",
        valid,
        target);
    assertThat(rows(target).stream().map(CompareCommandTest::key))
        .containsExactly(
            "unpruned - 8 -",
            "random - 6 0",
            "frequency a 6 -",
            "random - 4 0",
            "frequency a 4 -",
            "frequency b 6 -",
            "frequency b 4 -",
            "frequency both 6 -",
            "frequency both 4 -");
  }
}
