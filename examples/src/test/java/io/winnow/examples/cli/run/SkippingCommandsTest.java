package io.winnow.examples.cli.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import io.winnow.core.Fixtures;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.examples.cli.Cli;
import io.winnow.examples.cli.Winnow;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code winnow calibrate-skip} and {@code --skip}. */
class SkippingCommandsTest {
  @TempDir private Path folder;
  private Path policy;

  private static Cli.Result calibrate(String rate, Path out) {
    return Cli.succeed(
        "calibrate-skip --model MODEL --calib {} --sequences 8 --length 128 --rate {} --out {}",
        Fixtures.TEXT.resolve("code.calib.txt"),
        rate,
        out);
  }

  @BeforeEach
  void calibrate() {
    policy = folder.resolve("policy.json");
    Cli.Result result = calibrate("0.5", policy);
    assertThat(result.out()).contains("MoE layer 3: beta 0.");
  }

  @Test
  void thePolicyHasOneBetaPerMoeLayerAndGrowsWithTheRate() throws Exception {
    JsonObject half = Cli.json(policy);
    assertThat(half.getAsJsonArray("betas")).hasSize(4);
    Path more = folder.resolve("more.json");
    calibrate("0.8", more);
    for (int layer = 0; layer < 4; layer++) {
      assertThat(Cli.json(more).getAsJsonArray("betas").get(layer).getAsDouble())
          .isGreaterThan(half.getAsJsonArray("betas").get(layer).getAsDouble());
    }
    assertThat(Cli.run("calibrate-skip --model MODEL --calib x --rate 2 --out {}", more).code())
        .isEqualTo(Winnow.BAD_INPUT);
  }

  @Test
  void evaluateForwardAndGenerateFollowThePolicy() throws Exception {
    Path result = folder.resolve("result.json");
    Cli.Result evaluated =
        Cli.succeed(
            "evaluate --model MODEL --text {} --length 128 --windows 8 --skip {} --json" + " {}",
            Fixtures.TEXT.resolve("code.valid.txt"),
            policy,
            result);
    assertThat(evaluated.out()).contains("skipped ");
    assertThat(Cli.json(result).get("skip_rate").getAsDouble()).isCloseTo(0.5, within(0.1));

    Path ids = Fixtures.golden("mixtral").resolve("golden.safetensors");
    Path plain = folder.resolve("plain.safetensors");
    Path skipping = folder.resolve("skipping.safetensors");
    Cli.succeed("forward --model MODEL --input {} --out {}", ids, plain);
    Cli.succeed("forward --model MODEL --input {} --out {} --skip {}", ids, skipping, policy);
    assertThat(SafetensorsFile.open(skipping).readFloats("logits"))
        .isNotEqualTo(SafetensorsFile.open(plain).readFloats("logits"));
    assertThat(SafetensorsFile.open(skipping).readFloats("router_logits.0"))
        .isEqualTo(SafetensorsFile.open(plain).readFloats("router_logits.0"));

    Cli.Result generated =
        Cli.succeed("generate --model MODEL --prompt {} --max-tokens 8 --skip {}", "def ", policy);
    assertThat(generated.err()).contains("skipped ");
    Cli.assertRefused(
        Cli.run("generate --model MODEL --prompt a --skip {}", folder.resolve("none")), "none");
  }
}
