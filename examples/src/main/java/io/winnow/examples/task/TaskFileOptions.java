package io.winnow.examples.task;

import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.options.LengthOptions;
import io.winnow.examples.options.TextFormatOptions;
import io.winnow.examples.options.WindowOptions;
import java.nio.file.Path;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The options that say what {@code winnow evolve} and {@code winnow worker} judge models by. */
public final class TaskFileOptions {
  @Option(
      names = "--task",
      required = true,
      paramLabel = "FILE",
      description =
          "text whose log-likelihood counts: "
              + TextFormatOptions.FILES
              + "; or JSON rows of questions, of which the share that is answered right counts")
  private Path task;

  @Mixin private TextFormatOptions format;
  @Mixin private LengthOptions length;
  @Mixin private WindowOptions windows;
  @Mixin private TaskOptions questions;

  /** Checks what needs no file. */
  public void check() {
    windows.check();
  }

  /**
   * Reads the task.
   *
   * @param gradients whether merges are to be trained on it
   */
  public EvolutionTask read(Path model, ModelLimits limits, boolean gradients) {
    return EvolutionTask.read(
        model,
        task,
        format.format(),
        questions,
        length.length(),
        limits.maxPositions(),
        windows.most(),
        gradients);
  }
}
