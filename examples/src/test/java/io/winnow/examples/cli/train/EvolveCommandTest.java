package io.winnow.examples.cli.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Percentage.withPercentage;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.examples.cli.Cli;
import io.winnow.examples.cli.Winnow;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code winnow evolve}. */
class EvolveCommandTest {
  @TempDir private Path folder;

  private static final String TASK =
      "--model MODEL --task " + Fixtures.TEXT.resolve("code.valid.txt");

  private Cli.Result run(String options) {
    String windows = options.contains("--windows") ? " " : " --length 32 --windows 4 ";
    return Cli.run("evolve " + TASK + windows + "--out {} " + options, folder.resolve("out"));
  }

  @ParameterizedTest
  @CsvSource({
    "--retain 9, --retain is 9",
    "--retain 1, --retain is 1",
    "--retain 4 --workers 0, --workers is 0",
    "--retain 4 --evaluations 0, --evaluations is 0",
    "--retain 4 --merge-evaluations 0, --merge-evaluations is 0",
    "--retain 4 --merge best, best",
    "--retain 4 --active 5, --active 5",
    "--retain 9 --active 2, --retain is 9",
    "--retain 4 --groups 5, 5 groups",
    "--retain 4 --shots 2, --shots is for questions",
    "--retain 4 --merge gradient --length 32 --windows 1, --merge gradient needs at least 2 windows",
    "--retain 4 --cluster nowhere, nowhere",
    "--retain 4 --cluster localhost:1 --workers 2, leave one out",
    "--retain 4 --start none.json, none.json"
  })
  void badOptionsAreRefusedBeforeAnyWork(String options, String message) {
    Cli.assertRefused(run(options), message);
    assertThat(Cli.below(folder)).containsExactly("");
  }

  @Test
  void questionsHaveNoGradientsAndNoWindows() {
    Cli.assertRefused(
        questions("--merge gradient"),
        "--merge gradient needs text",
        "code-train.jsonl holds questions");
    Cli.assertRefused(questions("--windows 3"), "--length and --windows cut text");
    assertThat(Cli.below(folder)).containsExactly("");
  }

  private Cli.Result questions(String options) {
    return Cli.run(
        "evolve --model MODEL --task {} --retain 4 --out {} " + options,
        Fixtures.task("code-train.jsonl"),
        folder.resolve("out"));
  }

  /** Runs a search that must succeed, and returns the folder that it has written. */
  private Path succeed(String options) {
    Cli.Result result = run(options);
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(result.out()).contains("Written to").contains("full model").contains("pruned");
    return folder.resolve("out");
  }

  private double perplexity(Path model) {
    Path json = folder.resolve("perplexity.json");
    Cli.succeed(
        "evaluate --model {} --text {} --length 32 --windows 4 --json {}",
        model,
        Fixtures.TEXT.resolve("code.valid.txt"),
        json);
    return Cli.json(json).get("perplexity").getAsDouble();
  }

  /** The last number but one of a line of the table. */
  private static double perplexity(String out, String line) {
    String[] columns =
        out.lines().filter(one -> one.startsWith(line)).findFirst().orElseThrow().split(" +");
    return Double.parseDouble(columns[columns.length - 3]);
  }

  /** Reads a folder by every command that runs a model. */
  private void readByAll(Path model, boolean skips) {
    Path text = Fixtures.TEXT.resolve("code.valid.txt");
    assertThat(Cli.succeed("generate --model {} --prompt {} --max-tokens 8", model, "def ").out())
        .contains("def ");
    Path ids = Cli.writeIds(folder.resolve("ids.safetensors"), Fixtures.naeeTokens("calib.code"));
    Cli.succeed(
        "forward --model {} --input {} --out {}", model, ids, folder.resolve("logits.safetensors"));
    assertThat(Cli.floats(folder.resolve("logits.safetensors"), "logits"))
        .hasSize(16 * 256 * 1024)
        .doesNotContain(Float.NaN);
    Path task = folder.resolve("task.jsonl");
    write(task, firstQuestions(4));
    assertThat(Cli.succeed("evaluate --model {} --tasks {}", model, task).out())
        .contains("(4 questions)");
    Path policy = folder.resolve("policy.json");
    List<Object> calibrate =
        Cli.words(
            "calibrate-skip --model {} --calib {} --sequences 4 --length 32 --out {}",
            model,
            text,
            policy);
    if (!skips) {
      Cli.assertRefused(Cli.run(calibrate), "selects one expert");
      return;
    }
    Cli.succeed(calibrate);
    assertThat(
            Cli.succeed(
                    "evaluate --model {} --text {} --length 32 --windows 4 --skip {}",
                    model,
                    text,
                    policy)
                .out())
        .contains("skip");
  }

  private static String firstQuestions(int count) {
    try (Stream<String> lines = Files.lines(Fixtures.task("code-train.jsonl"))) {
      return lines.limit(count).collect(Collectors.joining("\n"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void write(Path file, String text) {
    try {
      Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void whatOnlyPrunesIsAPlainFolderWithTheFitnessThatWasFound() {
    Path report = folder.resolve("report.json");
    Cli.Result result = run("--retain 4 --merge none --evaluations 12 --report " + report);
    assertThat(result.code()).as(result.err()).isZero();
    Path out = folder.resolve("out");
    JsonObject config = Cli.json(out.resolve("config.json"));
    assertThat(config.get("model_type").getAsString()).isEqualTo("mixtral");
    assertThat(config.get("num_local_experts").getAsInt()).isEqualTo(4);
    JsonObject winnow = config.getAsJsonObject("winnow");
    assertThat(winnow.get("method").getAsString()).isEqualTo("eep-prune");
    assertThat(winnow.get("calibration").getAsString()).startsWith("sha256:");
    double fitness = Cli.json(report).getAsJsonObject("best").get("fitness").getAsDouble();
    assertThat(perplexity(out)).isCloseTo(Math.exp(-fitness), withPercentage(0.1));
    assertThat(perplexity(result.out(), "pruned"))
        .isLessThanOrEqualTo(perplexity(result.out(), "start"))
        .isCloseTo(Math.exp(-fitness), withPercentage(0.1));
    readByAll(out, true);
  }

  @Test
  void whatMergesIsReadByEveryCommandAndWorthWhatTheTableSays() {
    Path out = succeed("--retain 4 --evaluations 10 --merge-evaluations 11 --workers 2");
    assertThat(Cli.json(out.resolve("config.json")).get("model_type").getAsString())
        .isEqualTo("winnow_mixtral");
    readByAll(out, true);
  }

  @Test
  void fewerActiveExpertsAndGroupsOfLayers() {
    Path out = succeed("--retain 2 --active 1 --groups 2 --evaluations 10 --merge-evaluations 10");
    assertThat(Cli.json(out.resolve("config.json")).get("num_experts_per_tok").getAsInt())
        .isEqualTo(1);
    readByAll(out, false);
  }

  @Test
  void gradientsTrainTheBestPrunedInFloat32WhateverTheModelsType() {
    Path report = folder.resolve("report.json");
    Cli.Result result =
        run(
            "--retain 4 --merge gradient --length 64 --windows 16 --evaluations 2 --dtype bfloat16 --report "
                + report);
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(perplexity(result.out(), "merged")).isLessThan(perplexity(result.out(), "pruned"));
    Path out = folder.resolve("out");
    JsonObject training = Cli.json(report).getAsJsonObject("training");
    assertThat(training.get("step").getAsInt()).isPositive();
    assertThat(training.getAsJsonArray("history")).hasSizeGreaterThan(1);
    assertThat(
            Cli.json(out.resolve("config.json"))
                .getAsJsonObject("winnow")
                .get("method")
                .getAsString())
        .isEqualTo("eep-gradient");
    readByAll(out, true);
  }

  @Test
  void questionsAreJudgedByTheShareOfRightAnswers() {
    Path task = folder.resolve("questions.jsonl");
    write(task, firstQuestions(12));
    Path report = folder.resolve("report.json");
    Cli.Result result =
        Cli.succeed(
            "evolve --model MODEL --task {} --retain 4 --evaluations 11"
                + " --merge-evaluations 3 --report {} --out {}",
            task,
            report,
            folder.resolve("out"));
    double fitness = Cli.json(report).getAsJsonObject("best").get("fitness").getAsDouble();
    Path json = folder.resolve("accuracy.json");
    Cli.succeed("evaluate --model {} --tasks {} --json {}", folder.resolve("out"), task, json);
    double accuracy = Cli.json(json).get("acc").getAsDouble();
    assertThat(fitness).isBetween(accuracy, accuracy + 1 / 12.0);
    assertThat(result.out())
        .containsPattern("merged +0\\.\\d+ +" + Math.round(accuracy * 12) + " of 12");
  }

  @Test
  void openQuestionsAreJudgedByGeneratedText() {
    Path task = folder.resolve("open.jsonl");
    write(
        task,
        "{\"prompt\": \"def f(\", \"answer\": \"self\"}\n{\"prompt\": \"import \", \"answer\": \"os\"}");
    Cli.Result result =
        Cli.succeed(
            "evolve --model MODEL --task {} --retain 4 --evaluations 3 --merge none"
                + " --max-tokens 4 --extract {} --out {}",
            task,
            "\\w+",
            folder.resolve("out"));
    assertThat(result.out()).contains("exact").containsPattern("pruned .* of 2");
  }

  @Test
  void aJournalContinuesASearchWithTheSameResult() throws IOException {
    String options = "--retain 4 --evaluations 10 --journal " + folder.resolve("journal");
    Path report = folder.resolve("report.json");
    succeed(options + " --merge-evaluations 4");
    assertThat(Files.readAllLines(folder.resolve("journal").resolve("evaluations.jsonl")))
        .hasSize(13); // The best pruned one is not evaluated again.
    Cli.Result continued =
        Cli.succeed(
            "evolve "
                + TASK
                + " --length 32 --windows 4 --merge-evaluations 12 --out {} --report {} "
                + options,
            folder.resolve("longer"),
            report);
    assertThat(continued.out()).contains("10 + 12 evaluations");
    List<String> lines = Files.readAllLines(folder.resolve("journal").resolve("evaluations.jsonl"));
    assertThat(lines).hasSize(21).doesNotHaveDuplicates();
    assertThat(perplexity(folder.resolve("longer")))
        .isCloseTo(
            Math.exp(-Cli.json(report).getAsJsonObject("best").get("fitness").getAsDouble()),
            withPercentage(0.1));
  }

  @Test
  @Timeout(value = 2, unit = TimeUnit.MINUTES)
  void workersOfAClusterGiveTheSameResult() throws Exception {
    int port;
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      port = socket.getLocalPort();
    }
    String address = "127.0.0.1:" + port;
    String task = TASK + " --length 32 --windows 4 ";
    String[] listen =
        Cli.words("worker --listen {} " + task, address).stream()
            .map(Object::toString)
            .toArray(String[]::new);
    Thread worker = new Thread(() -> Winnow.run(listen));
    worker.start();
    try {
      String search =
          "evolve --retain 4 --evaluations 10 --merge-evaluations 10 --report {} --out {} " + task;
      Path alone = folder.resolve("alone.json");
      Cli.succeed(search, alone, folder.resolve("alone"));
      Path shared = folder.resolve("shared.json");
      Cli.succeed(search + "--cluster " + address, shared, folder.resolve("shared"));
      assertThat(Cli.json(shared).get("best")).isEqualTo(Cli.json(alone).get("best"));
    } finally {
      worker.interrupt();
      worker.join();
    }
  }
}
