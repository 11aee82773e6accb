package io.winnow.examples.options;

import picocli.CommandLine.Option;

/** {@code --seed}: the same seed gives the same result. */
public final class SeedOptions {
  @Option(
      names = "--seed",
      paramLabel = "S",
      defaultValue = "0",
      description = "seed of everything that is drawn at random (default: ${DEFAULT-VALUE})")
  private long seed;

  /** Returns the seed. */
  public long seed() {
    return seed;
  }
}
