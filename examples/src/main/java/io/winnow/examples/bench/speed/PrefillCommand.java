package io.winnow.examples.bench.speed;

import ai.djl.Model;
import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.RoundOptions;
import io.winnow.examples.options.ModelOptions;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code winnow bench prefill}. */
@Command(
    name = "prefill",
    mixinStandardHelpOptions = true,
    description =
        "The first new token of random prompts, beside the matrix products alone, and beside"
            + " Transformers.",
    footer = {
      "",
      "Example:",
      "  winnow bench checkpoint --out random-mixtral",
      "  winnow bench prefill --model random-mixtral --python .venv/bin/python"
    })
final class PrefillCommand extends Benchmark {
  @Mixin private ModelOptions model;
  @Mixin private BaselineOptions baselines;
  @Mixin private PromptOptions prompts = new PromptOptions(256, 8);
  @Mixin private RoundOptions rounds = new RoundOptions(5);

  @Override
  protected BenchmarkResult measure() {
    prompts.check();
    int repeat = rounds.count();
    baselines.applyThreads();
    model.check();
    try (TransformersBaseline baseline = baselines.start(model);
        Model loaded = model.load()) {
      return new PrefillBenchmark(
              model.folder(), loaded, baseline, prompts.batch(), prompts.tokens(), repeat)
          .run();
    }
  }
}
