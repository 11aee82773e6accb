package io.winnow.examples;

import io.winnow.core.InvalidInputException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The options that say what {@code winnow evolve} and {@code winnow worker} judge models by. */
final class TaskFileOptions {
  @Option(
      names = "--task",
      required = true,
      paramLabel = "FILE",
      description =
          "text whose log-likelihood counts: .txt, .jsonl (field 'text'), or .safetensors with"
              + " token ids ('input_ids'); or .jsonl of questions, of which the share that is"
              + " answered right counts")
  private Path task;

  @Option(
      names = "--length",
      paramLabel = "L",
      description = "tokens per window (default: 2048, or the model's positions if fewer)")
  private @Nullable Integer length;

  @Option(
      names = "--windows",
      paramLabel = "N",
      description = "use the first N windows (default: all)")
  private @Nullable Integer windows;

  @Mixin private TaskOptions questions;

  void check() {
    if (windows != null && windows < 1) {
      throw new InvalidInputException("--windows is " + windows + "; use at least 1");
    }
  }

  /**
   * Reads the task.
   *
   * @param gradients whether merges are to be trained on it
   */
  EvolutionTask read(Path model, ModelLimits limits, boolean gradients) {
    return EvolutionTask.read(
        model, task, questions, length, limits.maxPositions(), windows, gradients);
  }
}
