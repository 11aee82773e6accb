package io.winnow.examples.bench.pruning;

import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.ModelFolderOptions;
import java.io.IOException;
import java.nio.file.Path;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow bench prune-stream}. */
@Command(
    name = "prune-stream",
    mixinStandardHelpOptions = true,
    description =
        "Pruning a checkpoint on disk layer by layer: time, memory, and how often tensors are"
            + " read.",
    footer = {
      "",
      "Example: 11 GB, the figures of bench/README.md:",
      "  winnow bench checkpoint --out big --layers 16 --hidden 2048 --intermediate 7168 \\",
      "      --shard-mb 2000",
      "  winnow bench prune-stream --model big --retain 6 --scratch ."
    })
final class PruneStreamCommand extends Benchmark {
  @Mixin private ModelFolderOptions model;

  @Option(
      names = "--retain",
      paramLabel = "R",
      defaultValue = "6",
      description = "experts to keep in every layer (default: ${DEFAULT-VALUE})")
  private int retain;

  @Option(
      names = "--sequences",
      paramLabel = "N",
      defaultValue = "16",
      description = "calibration sequences of random tokens (default: ${DEFAULT-VALUE})")
  private int sequences;

  @Option(
      names = "--length",
      paramLabel = "L",
      defaultValue = "512",
      description = "tokens per sequence (default: ${DEFAULT-VALUE})")
  private int length;

  @Option(
      names = "--memory",
      paramLabel = "MIB",
      defaultValue = "1024",
      description = "for hidden states and experts' outputs (default: ${DEFAULT-VALUE})")
  private long memory;

  @Option(
      names = "--scratch",
      required = true,
      paramLabel = "DIR",
      description = "folder for the pruned model, which is removed")
  private Path scratch;

  @Override
  protected BenchmarkResult measure() throws IOException {
    Path out = scratch.resolve("winnow-prune-stream");
    Outputs.requireNewCheckpoint("--scratch", out, model.folder());
    return new StreamingBenchmark(model.folder(), retain, sequences, length, memory << 20, out)
        .run(new ConsoleProgress());
  }
}
