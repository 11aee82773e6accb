package io.winnow.examples.bench.speed;

import io.winnow.examples.options.HomeOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.Numbers;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
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

  @Mixin private HomeOptions home;

  /** Tells the engine, which is not running yet, how many threads it may use. */
  void applyThreads() {
    if (threads != null) {
      Numbers.requirePositive("--threads", threads);
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
    return home.folder();
  }

  /** Starts Transformers with the same model, type and device; nothing without --python. */
  @Nullable TransformersBaseline start(ModelOptions model) {
    return python == null
        ? null
        : new TransformersBaseline(
            python,
            home().resolve("bench").resolve("transformers_speed.py"),
            model.folder(),
            model.typeName(),
            model.deviceName(),
            threads());
  }
}
