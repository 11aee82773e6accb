package io.winnow.examples.bench.measure;

import io.winnow.examples.options.JsonOptions;
import java.util.concurrent.Callable;
import picocli.CommandLine.Mixin;

/** A command that measures, prints a table, and writes the same as JSON where that is wanted. */
public abstract class Benchmark implements Callable<Integer> {
  @Mixin private JsonOptions json;

  /** Checks the options that are this benchmark's own, and measures. */
  protected abstract BenchmarkResult measure() throws Exception;

  @Override
  public final Integer call() throws Exception {
    json.check();
    BenchmarkResult result = measure();
    System.out.print(result.table());
    json.write(result::toJson);
    return 0;
  }
}
