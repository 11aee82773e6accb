package io.winnow.pruning.shrink;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/** What was tried to make a model smaller, how good each is, and what was written. Immutable. */
public final class ShrinkReport {
  private final String limit;
  private final Candidate full;
  private final List<Candidate> candidates;
  private final int best;
  private final long comparedTokens;
  private final NarrowingReport written;
  private final Duration time;

  ShrinkReport(
      String limit,
      Candidate full,
      List<Candidate> candidates,
      int best,
      long comparedTokens,
      NarrowingReport written,
      Duration time) {
    this.limit = limit;
    this.full = full;
    this.candidates = List.copyOf(candidates);
    this.best = best;
    this.comparedTokens = comparedTokens;
    this.written = written;
    this.time = time;
  }

  /**
   * One way to make the model smaller, measured on sequences that it was not fitted to.
   *
   * @param name what it is, such as {@code narrow} or {@code reap+narrow}
   * @param experts that a layer keeps
   * @param width channels that each of them keeps
   * @param fileBytes of the weight files
   * @param bytesPerToken of the weights that computing one token reads
   * @param divergence the mean of KL(full || this) over tokens, in nats
   * @param agreement the share of tokens at which both have the same most likely next token
   * @param overlap the mean of the sum of min(p, q) over the vocabulary
   * @param perplexity of this
   */
  public record Candidate(
      String name,
      int experts,
      int width,
      long fileBytes,
      long bytesPerToken,
      double divergence,
      double agreement,
      double overlap,
      double perplexity) {
    JsonObject json() {
      JsonObject json = new JsonObject();
      json.addProperty("name", name);
      json.addProperty("experts", experts);
      json.addProperty("width", width);
      json.addProperty("file_bytes", fileBytes);
      json.addProperty("bytes_per_token", bytesPerToken);
      json.addProperty("kl", divergence);
      json.addProperty("top1", agreement);
      json.addProperty("overlap", overlap);
      json.addProperty("perplexity", perplexity);
      return json;
    }
  }

  /** Returns what the model may not exceed, in words. */
  public String limit() {
    return limit;
  }

  /** Returns the full model, on the same sequences. */
  public Candidate full() {
    return full;
  }

  /** Returns what was tried, in the order of trying. */
  public List<Candidate> candidates() {
    return candidates;
  }

  /** Returns the one with the least divergence, which was written. */
  public Candidate best() {
    return candidates.get(best);
  }

  /** Returns the number of tokens that candidates were compared on. */
  public long comparedTokens() {
    return comparedTokens;
  }

  /** Returns what was written: the best one, fitted to all of the calibration. */
  public NarrowingReport written() {
    return written;
  }

  /** Returns the time of the whole run. */
  public Duration time() {
    return time;
  }

  /** Returns the report as JSON text. */
  public String toJson() {
    return json().toString();
  }

  private JsonObject json() {
    JsonObject json = FileKind.SHRINK_REPORT.newJson();
    json.addProperty("version", 1);
    json.addProperty("limit", limit);
    json.addProperty("best", best().name());
    json.addProperty("compared_tokens", comparedTokens);
    json.addProperty("seconds", JsonFields.seconds(time));
    json.add("full", full.json());
    JsonArray all = new JsonArray();
    candidates.forEach(candidate -> all.add(candidate.json()));
    json.add("candidates", all);
    json.add("written", written.json());
    return json;
  }

  /**
   * Writes the report as a JSON file, replacing one that is there.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public void write(Path file) throws IOException {
    JsonFiles.write(file, json());
  }

  @Override
  public String toString() {
    return "ShrinkReport[" + limit + ", " + best() + "]";
  }
}
