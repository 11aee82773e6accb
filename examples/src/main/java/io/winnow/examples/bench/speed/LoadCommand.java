package io.winnow.examples.bench.speed;

import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.RoundOptions;
import io.winnow.examples.options.ModelOptions;
import java.io.IOException;
import java.nio.file.Path;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code winnow bench load}. */
@Command(
    name = "load",
    mixinStandardHelpOptions = true,
    description =
        "From the start of a process to the first token of a checkpoint, beside loading alone,"
            + " reading the bytes alone, and Transformers.",
    footer = {
      "",
      "Example: 2 GB, with the tokenizer of the small model:",
      "  winnow bench checkpoint --out two --layers 11 \\",
      "      --tokenizer examples/demo/tiny-mixtral",
      "  winnow bench load --model two --dtype bfloat16 --python .venv/bin/python"
    })
final class LoadCommand extends Benchmark {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Mixin private ModelOptions model;
  @Mixin private BaselineOptions baselines;
  @Mixin private RoundOptions rounds = new RoundOptions(5);

  @Override
  protected BenchmarkResult measure() throws IOException {
    int repeat = rounds.count();
    baselines.applyThreads();
    model.check();
    Path home = baselines.home();
    Path python = baselines.python();
    int threads = baselines.threads();
    String main = spec.root().userObject().getClass().getName();
    return new LoadBenchmark(
            model.folder(),
            model::load,
            LoadBenchmark.winnow(home, main, model),
            python == null ? null : LoadBenchmark.transformers(python, home, model, threads),
            threads,
            repeat)
        .run();
  }
}
