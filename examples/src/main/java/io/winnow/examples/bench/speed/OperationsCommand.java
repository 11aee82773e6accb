package io.winnow.examples.bench.speed;

import io.winnow.core.InvalidInputException;
import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.ThreadOptions;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.options.ModelFolderOptions;
import io.winnow.examples.options.Numbers;
import java.util.ServiceLoader;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow bench operations}. */
@Command(
    name = "operations",
    mixinStandardHelpOptions = true,
    description =
        "The small operations by JMH: routing, the loss of a subset, a decode step, drawing a"
            + " token.",
    footer = {
      "",
      "Example:",
      "  winnow bench operations --model examples/demo/tiny-mixtral --threads 1"
    })
final class OperationsCommand extends Benchmark {
  @Mixin private ModelFolderOptions model;
  @Mixin private ThreadOptions threads = new ThreadOptions(1);

  @Option(
      names = "--forks",
      defaultValue = "2",
      description =
          "processes of each operation; 0 measures in this one (default:" + " ${DEFAULT-VALUE})")
  private int forks;

  @Option(
      names = "--iterations",
      defaultValue = "3",
      description = "iterations, and as many to warm up (default: ${DEFAULT-VALUE})")
  private int iterations;

  @Option(
      names = "--milliseconds",
      defaultValue = "1000",
      description = "time of an iteration (default: ${DEFAULT-VALUE})")
  private long milliseconds;

  @Override
  protected BenchmarkResult measure() throws Exception {
    int engineThreads = threads.count();
    Numbers.requirePositive("--iterations", iterations);
    Numbers.requirePositive("--milliseconds", milliseconds);
    if (forks < 0) {
      throw new InvalidInputException("--forks is " + forks + "; use at least 0");
    }
    var unused = ModelLimits.of(model.folder());
    return operations(ServiceLoader.load(Operations.class))
        .measure(model.folder(), engineThreads, forks, iterations, milliseconds);
  }

  /** Returns what measures by JMH, whose licence (GPL) is why it is not in what users get. */
  static Operations operations(ServiceLoader<Operations> built) {
    return built
        .findFirst()
        .orElseThrow(
            () ->
                new InvalidInputException(
                    "This winnow is built without JMH, by which operations are measured; run"
                        + " 'examples/bin/winnow bench operations' in a checkout of the sources,"
                        + " which builds it with './mvnw -Pcpu,bench package'"));
  }
}
