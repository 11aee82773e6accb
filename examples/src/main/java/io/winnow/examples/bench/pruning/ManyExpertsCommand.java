package io.winnow.examples.bench.pruning;

import io.winnow.core.InvalidInputException;
import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.RoundOptions;
import io.winnow.examples.bench.measure.ThreadOptions;
import io.winnow.examples.options.SeedOptions;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow bench many-experts}. */
@Command(
    name = "many-experts",
    mixinStandardHelpOptions = true,
    description =
        "The search of a layer of many experts: its loss against other methods' and random subsets',"
            + " its time against computing all experts' outputs once.",
    footer = {
      "",
      "Example: the figures of bench/README.md:",
      "  winnow bench many-experts --experts 128 --retain 64 --layer routed --repeat 3"
    })
final class ManyExpertsCommand extends Benchmark {
  @Mixin private LayerOptions layer = new LayerOptions(1024, 512, 64, 8, 4096, 32);

  @Option(
      names = "--layer",
      paramLabel = "KIND",
      defaultValue = "random",
      description =
          "random, or routed: with topics and experts that have much in common (default:"
              + " ${DEFAULT-VALUE})")
  private String kind;

  @Mixin private ThreadOptions threads = new ThreadOptions(2);
  @Mixin private RoundOptions rounds = new RoundOptions(1);
  @Mixin private SeedOptions seed;

  @Override
  protected BenchmarkResult measure() {
    if (!kind.equals("random") && !kind.equals("routed")) {
      throw new InvalidInputException("--layer is '" + kind + "'; choose random or routed");
    }
    LayerShape shape = layer.shape();
    shape.checkRetain(shape.experts() - 1);
    return new ManyExpertsBenchmark(
            shape, kind.equals("routed"), threads.count(), rounds.count(), seed.seed())
        .run();
  }
}
