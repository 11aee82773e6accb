package io.winnow.examples.cli.prune;

import io.winnow.examples.options.Numbers;
import picocli.CommandLine.Option;

/** The options of fitting what is left to what was lost. */
final class RepairOptions {
  @Option(
      names = "--repair-memory",
      paramLabel = "MIB",
      defaultValue = "1024",
      description =
          "for the equations of a layer's repair; with less they are solved in parts (default:"
              + " ${DEFAULT-VALUE})")
  private long memory;

  long memoryBytes() {
    Numbers.requirePositive("--repair-memory", memory);
    return memory << 20;
  }
}
