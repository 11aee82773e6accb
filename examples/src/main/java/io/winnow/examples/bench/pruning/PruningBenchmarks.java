package io.winnow.examples.bench.pruning;

import java.util.List;

/** The benchmarks of this room. */
public final class PruningBenchmarks {
  /** Their commands' classes, which picocli makes. */
  public static final List<Class<?>> CLASSES =
      List.of(
          ManyExpertsCommand.class,
          MergeCommand.class,
          PruneStreamCommand.class,
          SearchCommand.class);

  private PruningBenchmarks() {}
}
