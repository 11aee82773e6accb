package io.winnow.examples.bench.speed;

import io.winnow.examples.options.Numbers;
import picocli.CommandLine.Option;

/** The random prompts that a benchmark continues. */
final class PromptOptions {
  @Option(
      names = "--prompt-tokens",
      paramLabel = "N",
      description = "tokens of each prompt (default: ${DEFAULT-VALUE})")
  private int tokens;

  @Option(
      names = "--batch",
      paramLabel = "B",
      description = "sequences at a time (default: ${DEFAULT-VALUE})")
  private int batch;

  /** Declares the options of a command that has such prompts without them. */
  PromptOptions(int usualTokens, int usualBatch) {
    tokens = usualTokens;
    batch = usualBatch;
  }

  /** Refuses numbers below 1. */
  void check() {
    Numbers.requirePositive("--prompt-tokens", tokens);
    Numbers.requirePositive("--batch", batch);
  }

  int tokens() {
    return tokens;
  }

  int batch() {
    return batch;
  }
}
