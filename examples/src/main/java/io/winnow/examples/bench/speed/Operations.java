package io.winnow.examples.bench.speed;

import io.winnow.examples.bench.measure.BenchmarkResult;
import java.nio.file.Path;

/** Measures small operations. Found as a service, since JMH is not everywhere. */
public interface Operations {
  /**
   * Measures.
   *
   * @param forks processes; 0 measures in this one, for a quick look
   * @param iterations as many to warm up
   * @param milliseconds of an iteration
   */
  BenchmarkResult measure(Path model, int threads, int forks, int iterations, long milliseconds)
      throws Exception;
}
