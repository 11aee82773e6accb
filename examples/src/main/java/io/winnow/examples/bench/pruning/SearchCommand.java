package io.winnow.examples.bench.pruning;

import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.RoundOptions;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code winnow bench search}. */
@Command(
    name = "search",
    mixinStandardHelpOptions = true,
    description =
        "The search for the experts of a layer to retain, against running the layer again for"
            + " every subset, as the papers' code does.",
    footer = {
      "",
      "Example: the figures of bench/README.md:",
      "  winnow bench search --json search.json",
      "A quick look at a small layer:",
      "  winnow bench search --hidden 256 --intermediate 512 --tokens 512"
    })
final class SearchCommand extends Benchmark {
  @Mixin private LayerOptions layer = new LayerOptions(1024, 3584, 8, 2, 2048, 4);
  @Mixin private RoundOptions rounds = new RoundOptions(1);

  @Override
  protected BenchmarkResult measure() {
    LayerShape shape = layer.shape();
    shape.checkRetain(shape.experts());
    return new SearchBenchmark(shape, rounds.count()).run();
  }
}
