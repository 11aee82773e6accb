package io.winnow.examples.bench.speed;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.examples.bench.measure.Benchmark;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.RoundOptions;
import io.winnow.examples.options.DecodingOptions;
import io.winnow.examples.options.SkipOptions;
import io.winnow.skipping.SkipPolicy;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow bench decode}. */
@Command(
    name = "decode",
    mixinStandardHelpOptions = true,
    description =
        "Decoding behind random prompts, with and without skipping, beside its matrix products"
            + " and the reading of its weights alone, and beside Transformers.",
    footer = {
      "",
      "Example:",
      "  winnow bench checkpoint --out random-mixtral",
      "  winnow bench decode --model random-mixtral --dtype bfloat16 --threads 1"
    })
final class DecodeCommand extends Benchmark {
  @Mixin private DecodingOptions model;
  @Mixin private SkipOptions skip;
  @Mixin private BaselineOptions baselines;
  @Mixin private PromptOptions prompts = new PromptOptions(64, 1);

  @Option(
      names = "--tokens",
      paramLabel = "N",
      defaultValue = "64",
      description = "new tokens of each sequence, at least 2 (default: ${DEFAULT-VALUE})")
  private int tokens;

  @Mixin private RoundOptions rounds = new RoundOptions(5);

  @Override
  protected BenchmarkResult measure() {
    prompts.check();
    if (tokens < 2) {
      throw new InvalidInputException("--tokens is " + tokens + "; use at least 2");
    }
    int repeat = rounds.count();
    baselines.applyThreads();
    SkipPolicy policy = skip.policy();
    model.check();
    try (TransformersBaseline baseline = baselines.start(model);
        Model loaded = model.load()) {
      return new DecodeBenchmark(
              model.folder(),
              loaded,
              skip.isGiven() ? policy : null,
              baseline,
              prompts.batch(),
              prompts.tokens(),
              tokens,
              repeat)
          .run();
    }
  }
}
