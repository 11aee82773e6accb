package io.winnow.examples.bench.measure;

import io.winnow.examples.options.Numbers;
import picocli.CommandLine.Option;

/** {@code --repeat}: how often is measured. */
public final class RoundOptions {
  private static final String REPEAT = "--repeat";

  @Option(
      names = REPEAT,
      paramLabel = "R",
      description = "rounds; the median counts (default: ${DEFAULT-VALUE})")
  private int repeat;

  /** Declares the option of a command that has so many rounds without it. */
  public RoundOptions(int usual) {
    repeat = usual;
  }

  /** Returns the number of rounds, which is at least 1. */
  public int count() {
    Numbers.requirePositive(REPEAT, repeat);
    return repeat;
  }
}
