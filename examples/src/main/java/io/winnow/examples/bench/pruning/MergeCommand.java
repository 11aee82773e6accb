package io.winnow.examples.bench.pruning;

import io.winnow.core.InvalidInputException;
import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.RoundOptions;
import io.winnow.examples.options.ModelFolderOptions;
import io.winnow.examples.options.Numbers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow bench merge}. */
@Command(
    name = "merge",
    mixinStandardHelpOptions = true,
    description =
        "Merging experts into the running model, against writing a merged folder and loading it.",
    footer = {
      "",
      "Example:",
      "  winnow bench checkpoint --out random-mixtral",
      "  winnow bench merge --model random-mixtral --retain 4"
    })
final class MergeCommand extends Benchmark {
  @Mixin private ModelFolderOptions model;

  @Option(
      names = "--retain",
      paramLabel = "R",
      defaultValue = "4",
      description = "merged experts a layer (default: ${DEFAULT-VALUE})")
  private int retain;

  @Option(
      names = "--scratch",
      paramLabel = "DIR",
      description = "folder for merged models (default: the system's temporary folder)")
  private @Nullable Path scratch;

  @Mixin private RoundOptions rounds = new RoundOptions(3);

  @Override
  protected BenchmarkResult measure() throws IOException {
    if (scratch != null && !Files.isDirectory(scratch)) {
      throw new InvalidInputException("--scratch: there is no folder " + scratch);
    }
    Numbers.requirePositive("--retain", retain);
    int repeat = rounds.count();
    Path folder =
        scratch == null
            ? Files.createTempDirectory("winnow-merge")
            : Files.createTempDirectory(scratch, "winnow-merge");
    try {
      return new MergeBenchmark(model.folder(), retain, repeat, folder).run();
    } finally {
      Files.delete(folder);
    }
  }
}
