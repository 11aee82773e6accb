package io.winnow.examples.cli.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.Fixtures;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.examples.cli.Cli;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code winnow finetune}. */
class FineTuneCommandTest {
  @TempDir private Path folder;

  private Path text;

  @BeforeEach
  void writeText() {
    text = Cli.writeIds(folder.resolve("text.safetensors"), Fixtures.tuneTokens().slice(0, 16));
  }

  private Cli.Result finetune(String options, Object... values) {
    return Cli.run(
        Cli.join(
            Cli.words("finetune --text {} --out {}", text, folder.resolve("out")),
            Cli.words(options, values).toArray()));
  }

  private Cli.Result finetuneSmall(String options, Object... values) {
    return finetune(
        "--steps 4 --interval 2 --model " + Fixtures.TINY_MIXTRAL_R4 + " " + options, values);
  }

  @Test
  void aPrunedModelIsTrainedWrittenAndMeasuredAgain() {
    Path checkpoints = folder.resolve("checkpoints");
    Cli.Result result =
        finetuneSmall("--teacher MODEL --batch 4 --checkpoints {} --minutes 5", checkpoints);
    assertThat(result.code()).as(result.err()).isZero();
    List<String> lines = result.out().lines().toList();
    assertThat(lines)
        .extracting(line -> line.split("  ")[0])
        .startsWith("validation text", "start", "step 2", "step 4");
    assertThat(lines.get(4)).startsWith("written (step 4)").contains("-").endsWith("%");
    assertThat(lines.get(5)).startsWith("teacher").endsWith("100.0 %");
    assertThat(lines.get(6)).isEqualTo("Written to " + folder.resolve("out"));
    assertThat(perplexity(lines.get(4))).isLessThan(0.98 * perplexity(lines.get(1)));
    Checkpoint written = Checkpoint.open(folder.resolve("out"));
    assertThat(written.tensor("lm_head.weight").type()).isEqualTo(TensorType.BF16);
    assertThat(Cli.json(folder.resolve("out/config.json")).getAsJsonObject("winnow").toString())
        .contains("\"method\":\"fine-tuning with distillation\"")
        .contains("\"trained\":true");
    assertThat(Cli.below(checkpoints)).contains("best-4.safetensors", "state-4.safetensors");
  }

  private static double perplexity(String line) {
    return Double.parseDouble(line.substring(24).strip().split(" ")[0]);
  }

  @Test
  void routersAloneAndAValidationTextOfItsOwn() {
    Path validation =
        Cli.writeIds(folder.resolve("v.safetensors"), Fixtures.tuneTokens().slice(20, 22));
    Cli.Result result =
        finetuneSmall("--train router --validation {} --batch 2 --accumulate 2", validation);
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(result.out()).contains("step 4").doesNotContain("teacher");
  }

  @Test
  void whatCannotBeTrainedIsRefusedAndNothingIsWritten() throws Exception {
    Path other = new RandomCheckpoint().write(folder.resolve("other"));
    Path empty = Files.writeString(folder.resolve("empty.txt"), "");
    Path few = Cli.writeIds(folder.resolve("few.safetensors"), Fixtures.tuneTokens().slice(0, 7));
    List<String> before = Cli.below(folder);
    Cli.assertRefused(finetuneSmall("--dtype bfloat16"), "Training computes in float32");
    Cli.assertRefused(
        finetuneSmall("--teacher {}", other), "vocabulary of 50 tokens, the model one of 1024");
    Cli.assertRefused(finetuneSmall("--teacher {}", folder), "config.json");
    Cli.assertRefused(finetuneSmall("--text {}", empty), "empty.txt");
    Cli.assertRefused(
        Cli.run(
            "finetune --model {} --text {} --out {}",
            Fixtures.TINY_MIXTRAL_R4,
            few,
            folder.resolve("out")),
        "No text has 8 windows");
    Cli.assertRefused(
        finetune("--model {} --steps 0", Fixtures.TINY_MIXTRAL_R4), "number of steps is 0");
    Cli.assertRefused(finetuneSmall("--minutes 0"), "--minutes is 0.0");
    Cli.assertRefused(
        finetuneSmall("--learning-rate 1e30 --warm-up 0"), "use a lower --learning-rate");
    assertThat(Cli.below(folder)).isEqualTo(before);
    Path out = Files.createDirectory(folder.resolve("out"));
    Cli.assertRefused(finetuneSmall(""), out + " exists already");
  }
}
