package io.winnow.pruning.evolve;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.winnow.core.Provenance;
import io.winnow.core.internal.file.JsonFiles;
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
 * @param pruningFitness what each individual of the pruning phase is worth, in the order in which
 *     they were made
 * @param mergingFitness the same of the merging phase, which follows
 * @param fitness what identifies model and task, as {@link Fitness#digest} says
 * @param provenance how the result was made
 * @param time the whole run of this process
 */
public record EvolutionReport(
    SearchSpace space,
    List<EvaluatedIndividual> start,
    @Nullable EvaluatedIndividual pruned,
    EvaluatedIndividual best,
    List<Double> pruningFitness,
    List<Double> mergingFitness,
    String fitness,
    Provenance provenance,
    Duration time) {

  /** Copies the lists. */
  public EvolutionReport {
    start = List.copyOf(start);
    pruningFitness = List.copyOf(pruningFitness);
    mergingFitness = List.copyOf(mergingFitness);
  }

  /** Returns the number of individuals evaluated in the pruning phase. */
  public int pruningEvaluations() {
    return pruningFitness.size();
  }

  /** Returns the number of individuals evaluated in the merging phase. */
  public int mergingEvaluations() {
    return mergingFitness.size();
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
    json.addProperty("pruning_evaluations", pruningEvaluations());
    json.addProperty("merging_evaluations", mergingEvaluations());
    json.addProperty("seconds", time.toMillis() / 1000.0);
    JsonArray given = new JsonArray();
    start.forEach(one -> given.add(toJson(one)));
    json.add("start", given);
    json.add("pruned", pruned == null ? null : toJson(pruned));
    json.add("best", toJson(best));
    json.add("pruning_fitness", fitness(pruningFitness));
    json.add("merging_fitness", fitness(mergingFitness));
    return json;
  }

  private static JsonObject toJson(EvaluatedIndividual evaluated) {
    JsonObject json = new JsonObject();
    json.add("fitness", number(evaluated.fitness()));
    json.addProperty("digest", evaluated.individual().digest());
    json.add("individual", evaluated.individual().toJson());
    return json;
  }

  private static JsonArray fitness(List<Double> values) {
    JsonArray array = new JsonArray();
    values.forEach(value -> array.add(number(value)));
    return array;
  }

  private static JsonElement number(double fitness) {
    return Double.isFinite(fitness) ? new JsonPrimitive(fitness) : JsonNull.INSTANCE;
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
