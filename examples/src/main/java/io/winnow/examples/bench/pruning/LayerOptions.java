package io.winnow.examples.bench.pruning;

import picocli.CommandLine.Option;

/** The layer of random weights that a benchmark searches. */
final class LayerOptions {
  @Option(
      names = "--hidden",
      paramLabel = "H",
      description = "hidden size (default: ${DEFAULT-VALUE})")
  private int hidden;

  @Option(
      names = "--intermediate",
      paramLabel = "I",
      description = "intermediate size (default: ${DEFAULT-VALUE})")
  private int intermediate;

  @Option(
      names = "--experts",
      paramLabel = "N",
      description = "experts (default: ${DEFAULT-VALUE})")
  private int experts;

  @Option(
      names = "--top-k",
      paramLabel = "K",
      description = "experts per token (default: ${DEFAULT-VALUE})")
  private int topK;

  @Option(
      names = "--tokens",
      paramLabel = "T",
      description = "calibration tokens (default: ${DEFAULT-VALUE})")
  private int tokens;

  @Option(
      names = "--retain",
      paramLabel = "R",
      description = "experts to retain (default: ${DEFAULT-VALUE})")
  private int retain;

  /** Declares the options of a command that has such a layer without them. */
  LayerOptions(int hidden, int intermediate, int experts, int topK, int tokens, int retain) {
    this.hidden = hidden;
    this.intermediate = intermediate;
    this.experts = experts;
    this.topK = topK;
    this.tokens = tokens;
    this.retain = retain;
  }

  LayerShape shape() {
    return new LayerShape(hidden, intermediate, experts, topK, tokens, retain);
  }
}
