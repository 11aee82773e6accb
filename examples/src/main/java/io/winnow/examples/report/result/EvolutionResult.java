package io.winnow.examples.report.result;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.pruning.evolve.Individual;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * What an evolutionary search found.
 *
 * @param name what charts call it
 * @param best the merge that was found, or trained from what was found
 * @param layers the decoder layers it is for
 * @param pruningFitness what each individual of the pruning phase is worth, in their order; NaN
 *     where it is not finite
 * @param mergingFitness the same of the merging phase, which follows
 */
public record EvolutionResult(
    String name,
    Individual best,
    List<Integer> layers,
    List<Double> pruningFitness,
    List<Double> mergingFitness) {

  /** Copies the lists. */
  public EvolutionResult {
    layers = List.copyOf(layers);
    pruningFitness = List.copyOf(pruningFitness);
    mergingFitness = List.copyOf(mergingFitness);
  }

  /**
   * Reads what {@code winnow evolve --report} wrote.
   *
   * @throws InvalidInputException if the file is no report of an evolutionary search
   */
  public static EvolutionResult read(Path file) {
    return ReportFiles.read(
        file,
        "a report of an evolutionary search",
        "'winnow evolve --report'",
        json -> {
          List<Integer> layers = ReportFiles.numbers(ReportFiles.object(json, "space"), "layers");
          JsonObject found = ReportFiles.object(json, json.has("training") ? "training" : "best");
          return new EvolutionResult(
              ReportFiles.label(file),
              Individual.fromJson(ReportFiles.object(found, "individual").toString()),
              layers,
              fitness(json, "pruning_fitness"),
              fitness(json, "merging_fitness"));
        });
  }

  /** Returns nothing where the report is of a time before it told this. */
  private static List<Double> fitness(JsonObject json, String name) {
    List<Double> fitness = new ArrayList<>();
    if (json.get(name) instanceof JsonArray array) {
      for (JsonElement element : array) {
        fitness.add(element.isJsonNull() ? Double.NaN : ReportFiles.number(element, "a fitness"));
      }
    }
    return fitness;
  }
}
