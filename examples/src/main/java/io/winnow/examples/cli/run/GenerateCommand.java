package io.winnow.examples.cli.run;

import ai.djl.Model;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.examples.options.DecodingOptions;
import io.winnow.examples.options.Numbers;
import io.winnow.examples.options.SeedOptions;
import io.winnow.examples.options.SkipOptions;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow generate}. */
@Command(
    name = "generate",
    mixinStandardHelpOptions = true,
    description = "Continues a prompt greedily.",
    footer = {
      "",
      "Example:",
      "  winnow generate --model Mixtral-8x7B-r6 --prompt 'def ' --max-tokens 64"
    })
final class GenerateCommand implements Callable<Integer> {
  @Mixin private DecodingOptions model;

  @Mixin private SkipOptions skip;

  @Option(
      names = "--prompt",
      required = true,
      paramLabel = "TEXT",
      description = "text to continue")
  private String prompt;

  @Option(
      names = "--max-tokens",
      paramLabel = "N",
      defaultValue = "128",
      description = "new tokens at most (default: ${DEFAULT-VALUE})")
  private int maxTokens;

  @Option(
      names = "--temperature",
      paramLabel = "T",
      defaultValue = "0",
      description = "draw tokens at this temperature; 0 takes the best (default)")
  private double temperature;

  @Option(names = "--top-k", paramLabel = "K", description = "draw from the K likeliest tokens")
  private int topK;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      defaultValue = "1",
      description = "draw from the likeliest tokens that have this probability together")
  private double topP;

  @Option(
      names = "--min-p",
      paramLabel = "P",
      description = "leave out tokens less likely than this part of the likeliest")
  private double minP;

  @Option(
      names = "--repetition-penalty",
      paramLabel = "X",
      defaultValue = "1",
      description = "above 1 discourages tokens that were there before")
  private double repetitionPenalty;

  @Mixin private SeedOptions seed;

  @Option(
      names = "--stop",
      paramLabel = "TEXT",
      description = "end where this text appears; may be given several times")
  private List<String> stop = List.of();

  @Override
  public Integer call() {
    Numbers.requirePositive("--max-tokens", maxTokens);
    GenerationConfig config =
        GenerationConfig.builder(maxTokens)
            .optTemperature(temperature)
            .optTopK(topK)
            .optTopP(topP)
            .optMinP(minP)
            .optRepetitionPenalty(repetitionPenalty)
            .optSeed(seed.seed())
            .optStopStrings(stop.toArray(String[]::new))
            .build();
    SkipPolicy policy = skip.policy();
    model.check();
    try (TextTokenizer tokenizer = TextTokenizer.open(model.folder());
        Model loaded = model.load()) {
      SkipCounter skipped = skip.install(loaded, policy);
      System.out.println(
          prompt
              + Generator.of(loaded)
                  .withTokenizer(tokenizer)
                  .generate(prompt, config)
                  .text()
                  .orElseThrow());
      if (skipped != null) {
        System.err.println(SkipOptions.describe(skipped.snapshot()));
      }
    }
    return 0;
  }
}
