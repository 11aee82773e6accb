package io.winnow.examples.cli.measure;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.TokenSequences;
import io.winnow.examples.cli.Cli;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code winnow evaluate}. */
class EvaluateCommandTest {
  @TempDir private Path folder;

  private JsonObject evaluate(Path text, String options) {
    Path json = folder.resolve("result.json");
    Cli.succeed("evaluate --model MODEL --text {} --json {} " + options, text, json);
    return Cli.json(json);
  }

  @Test
  void thePerplexityOfTheValidationTokensEqualsTransformers() {
    TokenSequences tokens = Fixtures.naeeTokens("valid.code");
    JsonObject json = evaluate(Cli.writeIds(folder.resolve("ids.safetensors"), tokens), "");
    JsonObject expected =
        Cli.json(Fixtures.NAEE_REFERENCE)
            .getAsJsonObject("ppl")
            .getAsJsonObject("full")
            .getAsJsonObject("code");
    double perplexity = expected.get("ppl").getAsDouble();
    assertThat(json.keySet()).containsExactlyInAnyOrder("perplexity", "nll", "accuracy", "tokens");
    assertThat(json.get("perplexity").getAsDouble())
        .isCloseTo(perplexity, within(0.001 * perplexity));
    assertThat(json.get("nll").getAsDouble())
        .isCloseTo(Math.log(json.get("perplexity").getAsDouble()), within(1e-9));
    assertThat(json.get("tokens").getAsLong()).isEqualTo(256 * 255);
  }

  @Test
  void textJsonLinesAndTokenIdsGiveTheSameResult() throws Exception {
    Path text = Fixtures.TEXT.resolve("code.valid.txt");
    JsonObject document = new JsonObject();
    document.addProperty("text", Files.readString(text));
    Path lines = folder.resolve("text.jsonl");
    Files.writeString(lines, document + "\n");
    Path ids =
        Cli.writeIds(
            folder.resolve("ids.safetensors"), Fixtures.naeeTokens("valid.code").slice(0, 4));
    JsonObject ofText = evaluate(text, "--length 256 --windows 4");
    assertThat(ofText.get("tokens").getAsLong()).isEqualTo(4 * 255);
    assertThat(evaluate(lines, "--length 256 --windows 4")).isEqualTo(ofText);
    assertThat(evaluate(ids, "--windows 99")).isEqualTo(ofText);
  }

  @Test
  void theResultIsOneLineOfStandardOutput() {
    Path ids =
        Cli.writeIds(
            folder.resolve("ids.safetensors"), Fixtures.naeeTokens("valid.prose").slice(0, 2));
    Cli.Result result =
        Cli.succeed("evaluate --model MODEL --text {} --length 64 --dtype bfloat16", ids);
    assertThat(result.out().strip())
        .matches(
            "perplexity \\d+\\.\\d{4}, nll \\d\\.\\d{6}, accuracy 0\\.\\d{4}, 2 windows of 64 tokens");
    assertThat(result.err()).contains("Evaluating: done");
  }

  @Test
  void multipleChoiceAccuraciesEqualTransformers() {
    Path json = folder.resolve("result.json");
    Cli.Result result =
        Cli.succeed(
            "evaluate --model MODEL --tasks {} --json {}", Fixtures.task("code-train.jsonl"), json);
    JsonObject expected =
        Cli.json(Fixtures.task("reference.json"))
            .getAsJsonObject("full")
            .getAsJsonObject("code-train");
    JsonObject object = Cli.json(json);
    assertThat(object.get("acc")).isEqualTo(expected.get("acc"));
    assertThat(object.get("acc_norm")).isEqualTo(expected.get("acc_norm"));
    assertThat(object.get("questions").getAsInt()).isEqualTo(400);
    assertThat(object.getAsJsonArray("answers")).hasSize(400);
    assertThat(result.out())
        .containsPattern("acc +0\\.6200 +0\\.0243")
        .containsPattern("acc_norm +0\\.6875 +0\\.0232");
    assertThat(result.err()).contains("Evaluating: done");
  }

  @Test
  void openQuestionsAreAnsweredUpToAStopStringAndExtracted() throws Exception {
    Cli.Result generated =
        Cli.succeed("generate --model MODEL --prompt {} --max-tokens 12", "def test_");
    String text = generated.out().strip().substring("def test_".length());
    String stop = text.substring(text.length() - 3, text.length() - 1);
    JsonObject right = new JsonObject();
    right.addProperty("prompt", "def test_");
    right.addProperty("answer", text.substring(0, text.indexOf(stop)));
    JsonObject wrong = right.deepCopy();
    wrong.addProperty("answer", "something else");
    Path tasks = folder.resolve("tasks.jsonl");
    Files.writeString(tasks, right + "\n" + wrong + "\n");
    Path json = folder.resolve("result.json");
    Cli.Result result =
        Cli.succeed(
            "evaluate --model MODEL --tasks {} --max-tokens 12 --stop {} --extract {}"
                + " --json {}",
            tasks,
            stop,
            "\\S+",
            json);
    JsonObject object = Cli.json(json);
    assertThat(object.get("exact_match").getAsDouble()).isEqualTo(0.5);
    assertThat(object.get("f1").getAsDouble()).isEqualTo(0.5);
    assertThat(object.getAsJsonArray("answers").get(0).getAsJsonObject().get("text").getAsString())
        .isEqualTo(right.get("answer").getAsString());
    assertThat(result.out()).containsPattern("exact_match +0\\.5000 +0\\.5000");
  }
}
