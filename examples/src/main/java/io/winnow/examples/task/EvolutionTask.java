package io.winnow.examples.task;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.file.JsonLines;
import io.winnow.core.internal.file.JsonText;
import io.winnow.examples.files.TextFormat;
import io.winnow.examples.files.TokenFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/** What {@code winnow evolve} judges models by. */
public sealed interface EvolutionTask extends AutoCloseable permits TextTask, QuestionTask {
  /** Identifies the task: what a journal must have been written for. */
  String digest();

  /** Identifies the text that the task consists of, for the checkpoint's provenance. */
  String textDigest();

  /**
   * Returns the fitness of models, to be called by one thread per model at a time.
   *
   * @param models which ones; the function knows no other
   */
  ToDoubleFunction<MoeModel> measure(List<Model> models);

  /** Returns the task's text to calibrate on, for an individual to start with. */
  Calibration calibration();

  /** Returns the windows to train merges on, which only text has. */
  TokenSequences trainingText();

  /** Returns the heads of the columns that {@link #describe} fills. */
  String columns();

  /** Says a fitness in the words of the task, beside that of what the search started from. */
  String describe(double fitness, double start);

  @Override
  default void close() {}

  /** Identifies a model and a task together. */
  static String digest(MoeModel model, EvolutionTask task) {
    return model.sourceDigest().orElse("unknown") + " " + task.digest();
  }

  /** Whether a file holds questions; else it is text. */
  static boolean isQuestions(Path file) {
    if (!Files.isRegularFile(file)
        || TokenFiles.isTokens(file)
        || JsonText.of(file) != JsonText.Kind.ROWS) {
      return false;
    }
    List<JsonLines.Line> first = new ArrayList<>();
    JsonLines.read(
        file,
        "{\"text\": \"...\"}, or a question",
        line -> {
          if (first.isEmpty()) {
            first.add(line);
          }
        });
    return !first.isEmpty()
        && (first.get(0).json().has("choices") || first.get(0).json().has("prompt"));
  }

  /**
   * Reads the file of --task.
   *
   * @param format how text is read
   * @param options what is said of questions
   * @param gradients whether merges are to be trained on the task
   */
  static EvolutionTask read(
      Path model,
      Path file,
      TextFormat format,
      TaskOptions options,
      @Nullable Integer length,
      int maxPositions,
      @Nullable Integer most,
      boolean gradients) {
    if (format.plain() || !isQuestions(file)) {
      options.requireNone(file + " is text");
      TokenSequences windows = TokenFiles.windows(model, file, format, length, maxPositions, most);
      return new TextTask(windows, gradients);
    }
    if (length != null || most != null) {
      throw new InvalidInputException(
          "--length and --windows cut text, and " + file + " holds questions; leave them out");
    }
    if (gradients) {
      throw new InvalidInputException(
          "--merge gradient needs text, whose likelihood has gradients, and "
              + file
              + " holds questions; use --merge evolution, or text");
    }
    return new QuestionTask(options.read(file), model, maxPositions);
  }
}
