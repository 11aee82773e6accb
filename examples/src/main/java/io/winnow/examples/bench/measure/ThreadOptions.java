package io.winnow.examples.bench.measure;

import io.winnow.examples.options.Numbers;
import picocli.CommandLine.Option;

/** {@code --threads} of benchmarks that use a certain number of them without it. */
public final class ThreadOptions {
  private static final String THREADS = "--threads";

  @Option(
      names = THREADS,
      paramLabel = "T",
      description = "threads to compute with (default: ${DEFAULT-VALUE})")
  private int threads;

  /** Declares the option of a command that uses so many threads without it. */
  public ThreadOptions(int usual) {
    threads = usual;
  }

  /** Returns the number of threads, which is at least 1. */
  public int count() {
    Numbers.requirePositive(THREADS, threads);
    return threads;
  }
}
