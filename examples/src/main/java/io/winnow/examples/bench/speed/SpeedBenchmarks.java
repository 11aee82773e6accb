package io.winnow.examples.bench.speed;

import java.util.List;

/** The benchmarks of this room. */
public final class SpeedBenchmarks {
  /** Their commands' classes, which picocli makes. */
  public static final List<Class<?>> CLASSES =
      List.of(
          DecodeCommand.class, LoadCommand.class, OperationsCommand.class, PrefillCommand.class);

  private SpeedBenchmarks() {}
}
