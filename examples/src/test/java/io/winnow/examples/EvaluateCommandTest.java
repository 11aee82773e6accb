package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.TokenSequences;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code winnow evaluate}. */
class EvaluateCommandTest {
  @TempDir private Path folder;

  private JsonObject evaluate(Path text, Object... more) {
    Path json = folder.resolve("result.json");
    Object[] args = new Object[7 + more.length];
    List<Object> first = List.of("evaluate", "--model", Cli.MODEL, "--text", text, "--json", json);
    first.toArray(args);
    System.arraycopy(more, 0, args, 7, more.length);
    Cli.succeed(args);
    return Cli.json(json);
  }

  @Test
  void thePerplexityOfTheValidationTokensEqualsTransformers() {
    TokenSequences tokens = Fixtures.naeeTokens("valid.code");
    JsonObject json = evaluate(Cli.writeIds(folder.resolve("ids.safetensors"), tokens));
    JsonObject expected =
        Cli.json(Fixtures.NAEE_REFERENCE)
            .getAsJsonObject("ppl")
            .getAsJsonObject("full")
            .getAsJsonObject("code");
    double perplexity = expected.get("ppl").getAsDouble();
    assertThat(json.keySet()).containsExactlyInAnyOrder("perplexity", "nll", "tokens");
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
    JsonObject ofText = evaluate(text, "--length", 256, "--windows", 4);
    assertThat(ofText.get("tokens").getAsLong()).isEqualTo(4 * 255);
    assertThat(evaluate(lines, "--length", 256, "--windows", 4)).isEqualTo(ofText);
    assertThat(evaluate(ids, "--windows", 99)).isEqualTo(ofText);
  }

  @Test
  void theResultIsOneLineOfStandardOutput() {
    Path ids =
        Cli.writeIds(
            folder.resolve("ids.safetensors"), Fixtures.naeeTokens("valid.prose").slice(0, 2));
    Cli.Result result =
        Cli.succeed(
            "evaluate", "--model", Cli.MODEL, "--text", ids, "--length", 64, "--dtype", "bfloat16");
    assertThat(result.out().strip())
        .matches("perplexity \\d+\\.\\d{4}, nll \\d\\.\\d{6}, 2 windows of 64 tokens");
    assertThat(result.err()).contains("Evaluating: done");
  }
}
