package io.winnow.examples.bench.speed;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.examples.bench.measure.BenchmarkResult;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Locale;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/** Runs JMH. Public for {@link java.util.ServiceLoader} only. */
public final class JmhOperations implements Operations {
  @Override
  public BenchmarkResult measure(
      Path model, int threads, int forks, int iterations, long milliseconds)
      throws RunnerException {
    TimeValue time = TimeValue.milliseconds(milliseconds);
    Options options =
        new OptionsBuilder()
            .include("^" + OperationsBenchmark.class.getName().replace(".", "\\.") + "\\.")
            .param("folder", model.toAbsolutePath().toString())
            .forks(forks)
            .warmupIterations(iterations)
            .warmupTime(time)
            .measurementIterations(iterations)
            .measurementTime(time)
            .jvmArgsAppend("-Dai.djl.pytorch.num_threads=" + threads)
            .shouldFailOnError(true)
            .verbosity(VerboseMode.SILENT)
            .build();
    return new Figures(new Runner(options).run());
  }

  /** What JMH has measured. */
  private record Figures(Collection<RunResult> runs) implements BenchmarkResult {
    @Override
    public String table() {
      StringBuilder table =
          new StringBuilder(String.format("%-20s  %12s  %10s%n", "", "us each", "+-"));
      for (RunResult run : runs) {
        Result<?> result = run.getPrimaryResult();
        table.append(
            String.format(
                Locale.ROOT,
                "%-20s  %12.3f  %10.3f%n",
                result.getLabel(),
                result.getScore(),
                result.getScoreError()));
      }
      return table.toString();
    }

    @Override
    public JsonObject toJson() {
      JsonArray operations = new JsonArray();
      for (RunResult run : runs) {
        Result<?> result = run.getPrimaryResult();
        JsonObject operation = new JsonObject();
        operation.addProperty("name", result.getLabel());
        operation.addProperty("score", result.getScore());
        double error = result.getScoreError(); // Unknown of fewer than three iterations.
        operation.addProperty("error", Double.isNaN(error) ? null : error);
        operation.addProperty("unit", result.getScoreUnit());
        operations.add(operation);
      }
      JsonObject json = new JsonObject();
      json.add("operations", operations);
      return json;
    }
  }
}
