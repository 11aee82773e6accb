package io.winnow.examples;

import io.winnow.core.InvalidInputException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The options of benchmarks that measure Transformers in the same run. */
final class BaselineOptions {
  @Option(
      names = "--python",
      paramLabel = "PATH",
      description =
          "a Python with torch and transformers, to measure Hugging Face Transformers in turn with"
              + " winnow")
  private @Nullable Path python;

  @Option(
      names = "--threads",
      paramLabel = "T",
      description = "threads of the engine (default: all cores)")
  private @Nullable Integer threads;

  @Option(
      names = "--home",
      paramLabel = "DIR",
      defaultValue = "${sys:winnow.home:-examples}",
      hidden = true)
  private Path home;

  /** Tells the engine, which is not running yet, how many threads it may use. */
  void applyThreads() {
    if (threads != null) {
      if (threads < 1) {
        throw new InvalidInputException("--threads is " + threads + "; use at least 1");
      }
      System.setProperty("ai.djl.pytorch.num_threads", threads.toString());
    }
  }

  int threads() {
    return threads == null ? Runtime.getRuntime().availableProcessors() : threads;
  }

  @Nullable Path python() {
    return python;
  }

  /** The launcher of winnow and its folder of Python scripts are here. */
  Path home() {
    return home;
  }

  /** Starts Transformers with the same model, type and device; nothing without --python. */
  @Nullable TransformersBaseline start(ModelOptions model) {
    return python == null
        ? null
        : new TransformersBaseline(
            python,
            home.resolve("bench").resolve("transformers_speed.py"),
            model.folder(),
            model.typeName(),
            model.deviceName(),
            threads());
  }
}
