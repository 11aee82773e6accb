package io.winnow.pruning.evolve;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.JsonFiles;
import io.winnow.core.Provenance;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What an evolutionary search found.
 *
 * @param space what it could choose from
 * @param start the given individuals and what they are worth, in their order
 * @param pruned the best that only prunes; null if none was evaluated
 * @param best the best of all
 * @param pruningEvaluations individuals evaluated in the pruning phase
 * @param mergingEvaluations individuals evaluated in the merging phase
 * @param fitness what identifies model and task, as {@link Fitness#digest} says
 * @param provenance how the result was made
 * @param time the whole run of this process
 */
public record EvolutionReport(
    SearchSpace space,
    List<EvaluatedIndividual> start,
    @Nullable EvaluatedIndividual pruned,
    EvaluatedIndividual best,
    int pruningEvaluations,
    int mergingEvaluations,
    String fitness,
    Provenance provenance,
    Duration time) {

  /** Copies the list. */
  public EvolutionReport {
    start = List.copyOf(start);
  }

  /** Returns the report as JSON. A fitness that is not finite is null. */
  public JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.addProperty("version", 1);
    json.addProperty("method", provenance.method());
    json.addProperty("seed", provenance.seed());
    json.addProperty("source", provenance.source());
    json.addProperty("fitness", fitness);
    json.add("space", space.toJson());
    json.addProperty("pruning_evaluations", pruningEvaluations);
    json.addProperty("merging_evaluations", mergingEvaluations);
    json.addProperty("seconds", time.toMillis() / 1000.0);
    JsonArray given = new JsonArray();
    start.forEach(one -> given.add(toJson(one)));
    json.add("start", given);
    json.add("pruned", pruned == null ? null : toJson(pruned));
    json.add("best", toJson(best));
    return json;
  }

  private static JsonObject toJson(EvaluatedIndividual evaluated) {
    JsonObject json = new JsonObject();
    json.addProperty("fitness", Double.isFinite(evaluated.fitness()) ? evaluated.fitness() : null);
    json.addProperty("digest", evaluated.individual().digest());
    json.add("individual", evaluated.individual().toJson());
    return json;
  }

  /**
   * Writes the report as a JSON file, replacing one that is there.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public void write(Path file) throws IOException {
    JsonFiles.write(file, toJson());
  }
}
