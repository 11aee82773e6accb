package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * {@code winnow calibrate-skip}, {@code --skip}, {@code winnow bench decode} and its checkpoint.
 */
class SkippingCommandsTest {
  @TempDir private Path folder;
  private Path policy;

  @BeforeEach
  void calibrate() {
    policy = folder.resolve("policy.json");
    Cli.Result result =
        Cli.succeed(
            "calibrate-skip",
            "--model",
            Cli.MODEL,
            "--calib",
            Fixtures.TEXT.resolve("code.calib.txt"),
            "--sequences",
            8,
            "--length",
            128,
            "--out",
            policy);
    assertThat(result.out()).contains("MoE layer 3: beta 0.");
  }

  private static JsonObject json(Path file) throws Exception {
    return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
  }

  @Test
  void thePolicyHasOneBetaPerMoeLayerAndGrowsWithTheRate() throws Exception {
    JsonObject half = json(policy);
    assertThat(half.getAsJsonArray("betas")).hasSize(4);
    Path more = folder.resolve("more.json");
    Cli.succeed(
        "calibrate-skip",
        "--model",
        Cli.MODEL,
        "--calib",
        Fixtures.TEXT.resolve("code.calib.txt"),
        "--sequences",
        8,
        "--length",
        128,
        "--rate",
        0.8,
        "--out",
        more);
    for (int layer = 0; layer < 4; layer++) {
      assertThat(json(more).getAsJsonArray("betas").get(layer).getAsDouble())
          .isGreaterThan(half.getAsJsonArray("betas").get(layer).getAsDouble());
    }
    assertThat(
            Cli.run(
                    "calibrate-skip",
                    "--model",
                    Cli.MODEL,
                    "--calib",
                    "x",
                    "--rate",
                    2,
                    "--out",
                    more)
                .code())
        .isEqualTo(Winnow.BAD_INPUT);
  }

  @Test
  void evaluateForwardAndGenerateFollowThePolicy() throws Exception {
    Path result = folder.resolve("result.json");
    Cli.Result evaluated =
        Cli.succeed(
            "evaluate",
            "--model",
            Cli.MODEL,
            "--text",
            Fixtures.TEXT.resolve("code.valid.txt"),
            "--length",
            128,
            "--windows",
            8,
            "--skip",
            policy,
            "--json",
            result);
    assertThat(evaluated.out()).contains("skipped ");
    assertThat(json(result).get("skip_rate").getAsDouble()).isCloseTo(0.5, within(0.1));

    Path ids = Fixtures.golden("mixtral").resolve("golden.safetensors");
    Path plain = folder.resolve("plain.safetensors");
    Path skipping = folder.resolve("skipping.safetensors");
    Cli.succeed("forward", "--model", Cli.MODEL, "--input", ids, "--out", plain);
    Cli.succeed(
        "forward", "--model", Cli.MODEL, "--input", ids, "--out", skipping, "--skip", policy);
    assertThat(SafetensorsFile.open(skipping).readFloats("logits"))
        .isNotEqualTo(SafetensorsFile.open(plain).readFloats("logits"));
    assertThat(SafetensorsFile.open(skipping).readFloats("router_logits.0"))
        .isEqualTo(SafetensorsFile.open(plain).readFloats("router_logits.0"));

    Cli.Result generated =
        Cli.succeed(
            "generate",
            "--model",
            Cli.MODEL,
            "--prompt",
            "def ",
            "--max-tokens",
            8,
            "--skip",
            policy);
    assertThat(generated.err()).contains("skipped ");
    Cli.Result refused =
        Cli.run(
            "generate", "--model", Cli.MODEL, "--prompt", "a", "--skip", folder.resolve("none"));
    assertThat(refused.code()).isEqualTo(Winnow.BAD_INPUT);
    assertThat(refused.complaints()).hasSize(1);
  }

  @Test
  void benchDecodeMeasuresAModelOfRandomWeights() throws Exception {
    Path model = folder.resolve("random");
    Cli.succeed(
        "bench",
        "checkpoint",
        "--out",
        model,
        "--layers",
        1,
        "--hidden",
        128,
        "--intermediate",
        64,
        "--vocabulary",
        64);
    Path one = folder.resolve("one.json");
    Files.writeString(
        one, "{\"version\": 1, \"rule\": \"ratio\", \"layers\": [0], \"betas\": [1.0]}");
    Path result = folder.resolve("result.json");
    Cli.Result measured =
        Cli.succeed(
            "bench",
            "decode",
            "--model",
            model,
            "--dtype",
            "bfloat16",
            "--prompt-tokens",
            4,
            "--tokens",
            4,
            "--batch",
            2,
            "--repeat",
            1,
            "--skip",
            one,
            "--json",
            result);
    assertThat(measured.out()).contains("with the policy").contains("no expert");
    assertThat(json(result).get("skip_rate").getAsDouble()).isEqualTo(1);
    assertThat(json(result).get("tokens_per_second").getAsDouble()).isPositive();
    for (String bad : new String[] {"--tokens=1", "--batch=0", "--prompt-tokens=5000"}) {
      assertThat(Cli.run("bench", "decode", "--model", model, bad).code())
          .isEqualTo(Winnow.BAD_INPUT);
    }
    assertThat(Cli.run("bench", "checkpoint", "--out", folder.resolve("x"), "--hidden", 100).code())
        .isEqualTo(Winnow.BAD_INPUT);
    assertThat(
            Cli.run("bench", "checkpoint", "--out", folder.resolve("x"), "--stored", "I8").code())
        .isEqualTo(Winnow.BAD_INPUT);
  }
}
