package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.Fixtures;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
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

  private Cli.Result finetune(Object... more) {
    List<Object> args =
        new ArrayList<>(List.of("finetune", "--text", text, "--out", folder.resolve("out")));
    args.addAll(List.of(more));
    return Cli.run(args.toArray());
  }

  private Cli.Result finetuneSmall(Object... more) {
    List<Object> args =
        new ArrayList<>(
            List.of("--model", Fixtures.TINY_MIXTRAL_R4, "--steps", 4, "--interval", 2));
    args.addAll(List.of(more));
    return finetune(args.toArray());
  }

  @Test
  void aPrunedModelIsTrainedWrittenAndMeasuredAgain() {
    Path checkpoints = folder.resolve("checkpoints");
    Cli.Result result =
        finetuneSmall(
            "--teacher", Cli.MODEL, "--batch", 4, "--checkpoints", checkpoints, "--minutes", 5);
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
        finetuneSmall(
            "--train", "router", "--validation", validation, "--batch", 2, "--accumulate", 2);
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(result.out()).contains("step 4").doesNotContain("teacher");
  }

  @Test
  void whatCannotBeTrainedIsRefusedAndNothingIsWritten() throws Exception {
    Path other = new RandomCheckpoint().write(folder.resolve("other"));
    Path empty = Files.writeString(folder.resolve("empty.txt"), "");
    Path few = Cli.writeIds(folder.resolve("few.safetensors"), Fixtures.tuneTokens().slice(0, 7));
    List<String> before = Cli.below(folder);
    refused(finetuneSmall("--dtype", "bfloat16"), "Training computes in float32");
    refused(finetuneSmall("--teacher", other), "vocabulary of 50 tokens, the model one of 1024");
    refused(finetuneSmall("--teacher", folder), "config.json");
    refused(finetuneSmall("--text", empty), "empty.txt");
    refused(
        Cli.run(
            "finetune",
            "--model",
            Fixtures.TINY_MIXTRAL_R4,
            "--text",
            few,
            "--out",
            folder.resolve("out")),
        "No text has 8 windows");
    refused(finetune("--model", Fixtures.TINY_MIXTRAL_R4, "--steps", 0), "number of steps is 0");
    refused(finetuneSmall("--minutes", 0), "--minutes is 0.0");
    refused(
        finetuneSmall("--learning-rate", "1e30", "--warm-up", 0), "use a lower --learning-rate");
    assertThat(Cli.below(folder)).isEqualTo(before);
    Path out = Files.createDirectory(folder.resolve("out"));
    refused(finetuneSmall(), out + " exists already");
  }

  private static void refused(Cli.Result result, String message) {
    assertThat(result.code()).as(result.err()).isEqualTo(2);
    assertThat(result.complaints()).hasSize(1).first().asString().contains(message);
    assertThat(result.out()).isEmpty();
  }
}
