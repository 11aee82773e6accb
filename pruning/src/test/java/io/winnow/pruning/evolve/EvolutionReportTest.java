package io.winnow.pruning.evolve;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The report's JSON, which tools read. */
class EvolutionReportTest {
  static JsonObject json(EvolutionReport report) {
    return JsonParser.parseString(report.toJson()).getAsJsonObject();
  }

  @Test
  void theReportHasEveryEvaluationsFitnessInTheirOrder() {
    List<SearchGeneration> generations =
        EvolutionarySearchTest.generations(FakeTask.search(FakeTask.inline(), 2));
    EvolutionReport report = FakeTask.search(FakeTask.inline(), 2).build().run();
    for (Phase phase : Phase.values()) {
      List<Double> expected =
          generations.stream()
              .filter(generation -> generation.state().phase() == phase)
              .flatMap(generation -> generation.individuals().stream())
              .map(EvaluatedIndividual::fitness)
              .toList();
      boolean pruning = phase == Phase.PRUNING;
      assertThat(pruning ? report.pruningFitness() : report.mergingFitness())
          .isEqualTo(expected)
          .isNotEmpty();
      JsonArray json = json(report).getAsJsonArray(pruning ? "pruning_fitness" : "merging_fitness");
      assertThat(json.asList().stream().map(JsonElement::getAsDouble).toList()).isEqualTo(expected);
    }
    EvolutionReport broken = FakeTask.search(Fitness.of("nan", one -> Double.NaN), 2).build().run();
    assertThat(json(broken).getAsJsonArray("pruning_fitness"))
        .allMatch(JsonElement::isJsonNull)
        .hasSize(broken.pruningEvaluations());
  }

  @Test
  void theReportTellsEverything() {
    EvolutionReport report =
        FakeTask.search(FakeTask.inline(), 9)
            .optStart(List.of(EvolutionarySearchTest.pruning(0, 1, 2, 3)))
            .optSource("sha256:5")
            .build()
            .run();
    assertThat(report.toJson())
        .startsWith("{\"kind\":\"winnow-evolution-report\",\"version\":1,")
        .contains("\"method\":\"eep\"", "\"seed\":9", "\"source\":\"sha256:5\"")
        .contains(report.best().individual().digest())
        .contains("\"fitness\":\"fake\"");
    assertThat(
            Individual.fromJson(
                json(report).getAsJsonObject("best").getAsJsonObject("individual").toString()))
        .isEqualTo(report.best().individual());
  }
}
