package io.winnow.pruning.evolve;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.Provenance;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What an evolutionary search found. Immutable. */
public final class EvolutionReport {
  private final SearchSpace space;
  private final List<EvaluatedIndividual> start;
  private final @Nullable EvaluatedIndividual pruned;
  private final EvaluatedIndividual best;
  private final List<Double> pruningFitness;
  private final List<Double> mergingFitness;
  private final String fitness;
  private final Provenance provenance;
  private final Duration time;

  EvolutionReport(
      SearchSpace space,
      List<EvaluatedIndividual> start,
      @Nullable EvaluatedIndividual pruned,
      EvaluatedIndividual best,
      List<Double> pruningFitness,
      List<Double> mergingFitness,
      String fitness,
      Provenance provenance,
      Duration time) {
    this.space = space;
    this.start = List.copyOf(start);
    this.pruned = pruned;
    this.best = best;
    this.pruningFitness = List.copyOf(pruningFitness);
    this.mergingFitness = List.copyOf(mergingFitness);
    this.fitness = fitness;
    this.provenance = provenance;
    this.time = time;
  }

  /** Returns what the search could choose from. */
  public SearchSpace space() {
    return space;
  }

  /** Returns the given individuals and what they are worth, in their order. */
  public List<EvaluatedIndividual> start() {
    return start;
  }

  /** Returns the best that only prunes; null if none was evaluated. */
  public @Nullable EvaluatedIndividual pruned() {
    return pruned;
  }

  /** Returns the best of all. */
  public EvaluatedIndividual best() {
    return best;
  }

  /** Returns what each individual of the pruning phase is worth, in the order of their making. */
  public List<Double> pruningFitness() {
    return pruningFitness;
  }

  /** Returns the same of the merging phase, which follows. */
  public List<Double> mergingFitness() {
    return mergingFitness;
  }

  /** Returns what identifies model and task, as {@link Fitness#digest} says. */
  public String fitness() {
    return fitness;
  }

  /** Returns how the result was made. */
  public Provenance provenance() {
    return provenance;
  }

  /** Returns the time of the whole run of this process. */
  public Duration time() {
    return time;
  }

  /** Returns the number of individuals evaluated in the pruning phase. */
  public int pruningEvaluations() {
    return pruningFitness.size();
  }

  /** Returns the number of individuals evaluated in the merging phase. */
  public int mergingEvaluations() {
    return mergingFitness.size();
  }

  /** Returns the report as JSON text. A fitness that is not finite is null. */
  public String toJson() {
    return json().toString();
  }

  private JsonObject json() {
    JsonObject json = FileKind.EVOLUTION_REPORT.newJson();
    json.addProperty("version", 1);
    json.addProperty("method", provenance.method());
    json.addProperty("seed", provenance.seed());
    json.addProperty("source", provenance.source());
    json.addProperty("fitness", fitness);
    json.add("space", space.toJson());
    json.addProperty("pruning_evaluations", pruningEvaluations());
    json.addProperty("merging_evaluations", mergingEvaluations());
    json.addProperty("seconds", JsonFields.seconds(time));
    JsonArray given = new JsonArray();
    start.forEach(one -> given.add(json(one)));
    json.add("start", given);
    json.add("pruned", pruned == null ? null : json(pruned));
    json.add("best", json(best));
    json.add("pruning_fitness", fitness(pruningFitness));
    json.add("merging_fitness", fitness(mergingFitness));
    return json;
  }

  private static JsonObject json(EvaluatedIndividual evaluated) {
    JsonObject json = new JsonObject();
    json.add("fitness", JsonFields.finite(evaluated.fitness()));
    json.addProperty("digest", evaluated.individual().digest());
    json.add("individual", evaluated.individual().json());
    return json;
  }

  private static JsonArray fitness(List<Double> values) {
    JsonArray array = new JsonArray();
    values.forEach(value -> array.add(JsonFields.finite(value)));
    return array;
  }

  /**
   * Writes the report as a JSON file, replacing one that is there.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public void write(Path file) throws IOException {
    JsonFiles.write(file, json());
  }

  /** Returns the report as JSON text. */
  @Override
  public String toString() {
    return toJson();
  }
}
