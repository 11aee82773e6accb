package io.winnow.examples.options;

import picocli.CommandLine.Option;

/** {@code --group-sequences}: over how many sequences a loss is one norm. */
public final class GroupOptions {
  @Option(
      names = "--group-sequences",
      paramLabel = "G",
      defaultValue = "0",
      description =
          "sum the loss over groups of G sequences, as NAEE's code does with 8 (default: one group"
              + " of all)")
  private int groupSequences;

  /** Returns the sequences of a group; 0 for one group of all. */
  public int sequences() {
    return groupSequences;
  }
}
