package io.winnow.examples.bench.measure;

import com.google.gson.JsonObject;

/** What a benchmark has measured. */
public interface BenchmarkResult {
  /** Returns the result as lines of text, each with its end. */
  String table();

  /** Returns the result for a file, every round by itself. */
  JsonObject toJson();
}
