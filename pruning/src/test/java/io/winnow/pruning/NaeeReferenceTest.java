package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.model.MoeModels;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Our choices and losses against a re-implementation of NAEE's released code in Python. */
class NaeeReferenceTest {
  private static final double TOLERANCE = 1e-4;

  private static JsonObject reference;
  private static Model model;

  @BeforeAll
  static void load() throws Exception {
    reference = JsonParser.parseString(Files.readString(Fixtures.NAEE_REFERENCE)).getAsJsonObject();
    model = loader().load();
  }

  @AfterAll
  static void close() {
    model.close();
  }

  private static MoeModels.Loader loader() {
    return MoeModels.loader(Fixtures.TINY_MIXTRAL)
        .optDevice(Device.cpu())
        .optDataType(DataType.FLOAT32);
  }

  private static JsonArray layers(String kind, String domain, int retained) {
    return reference
        .getAsJsonObject(kind)
        .getAsJsonObject(domain)
        .getAsJsonObject("r" + retained)
        .getAsJsonArray("layers");
  }

  private static List<Integer> integers(JsonElement array) {
    List<Integer> list = new ArrayList<>();
    array.getAsJsonArray().forEach(element -> list.add(element.getAsInt()));
    return list;
  }

  private static void assertLosses(List<SubsetLoss> actual, JsonObject expected) {
    assertThat(actual).hasSize(expected.size());
    for (SubsetLoss loss : actual) {
      String key = loss.dropped().stream().map(String::valueOf).collect(Collectors.joining(","));
      double wanted = expected.get(key).getAsDouble();
      assertThat(loss.loss())
          .as("loss of dropping %s", key)
          .isCloseTo(wanted, within(TOLERANCE * wanted));
    }
    assertThat(actual).isSorted();
  }

  private static void assertLayers(
      PruningReport report, JsonArray expected, String dropped, String losses) {
    for (PruningReport.Layer layer : report.layers()) {
      JsonObject wanted = expected.get(layer.layer()).getAsJsonObject();
      assertThat(layer.dropped()).isEqualTo(integers(wanted.get(dropped)));
      assertLosses(layer.losses(), wanted.getAsJsonObject(losses));
    }
  }

  @ParameterizedTest(name = "{0}, r = {1}")
  @CsvSource({"prose, 6", "prose, 4", "code, 6", "code, 4"})
  void groupsOfEightSequencesGiveTheReleasedCodesChoicesAndLosses(String domain, int retained) {
    PruningReport report =
        ExpertPruner.builder()
            .optSequencesPerGroup(8)
            .build()
            .search(model, Fixtures.naeeCalibration(domain), retained);
    JsonArray expected = layers("layerwise", domain, retained);
    assertLayers(report, expected, "best_dropped", "loss");
    for (PruningReport.Layer layer : report.layers()) {
      assertThat(layer.exact()).isTrue();
      JsonObject wanted = expected.get(layer.layer()).getAsJsonObject();
      assertThat(layer.retained()).isEqualTo(integers(wanted.get("best_kept")));
      double norm = wanted.get("zero_all_loss").getAsDouble();
      assertThat(layer.relativeLoss().getAsDouble())
          .isCloseTo(layer.loss().getAsDouble() / norm, within(TOLERANCE));
    }
  }

  @ParameterizedTest(name = "{0}, r = {1}")
  @CsvSource({"prose, 6", "prose, 4", "code, 6", "code, 4"})
  void oneGroupGivesThePapersChoicesAndLosses(String domain, int retained) {
    PruningReport report =
        ExpertPruner.builder().build().search(model, Fixtures.naeeCalibration(domain), retained);
    assertLayers(
        report,
        layers("layerwise", domain, retained),
        "best_dropped_global_frobenius",
        "loss_global_frobenius");
  }

  @ParameterizedTest(name = "{0}, r = {1}")
  @CsvSource({"prose, 6", "prose, 4", "code, 6", "code, 4"})
  void progressiveGivesTheReleasedCodesChoicesAndLosses(String domain, int retained) {
    PruningReport report =
        ExpertPruner.builder()
            .optSequencesPerGroup(8)
            .optProgressive(true)
            .build()
            .search(model, Fixtures.naeeCalibration(domain), retained);
    assertLayers(report, layers("progressive", domain, retained), "best_dropped", "loss");
  }

  @ParameterizedTest(name = "{0}, r = {1}")
  @CsvSource({"prose, 6", "prose, 4", "code, 6", "code, 4"})
  void frequencyGivesTheReferencesChoices(String domain, int retained) {
    PruningReport report =
        ExpertPruner.builder()
            .optMethod(PruningMethod.frequency())
            .optMeasureLoss(false)
            .build()
            .search(model, Fixtures.naeeCalibration(domain), retained);
    JsonArray expected =
        reference
            .getAsJsonObject("frequency")
            .getAsJsonObject(domain)
            .getAsJsonArray("r" + retained + "_kept");
    for (PruningReport.Layer layer : report.layers()) {
      assertThat(layer.retained()).isEqualTo(integers(expected.get(layer.layer())));
      assertThat(layer.loss()).isEmpty();
    }
  }

  @Test
  void perplexitiesOfTheFullModelEqualTheReference() {
    assertPerplexities(model, "full");
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource({
    "naee_prose_r6", "naee_prose_r4", "naee_code_r6", "naee_code_r4",
    "freq_prose_r6", "freq_prose_r4", "freq_code_r6", "freq_code_r4",
    "prog_prose_r6", "prog_prose_r4", "prog_code_r6", "prog_code_r4"
  })
  void perplexitiesOfPrunedModelsEqualTheReference(String variant) {
    JsonArray kept = reference.getAsJsonObject("keepsets").getAsJsonArray(variant);
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    for (int layer = 0; layer < kept.size(); layer++) {
      retained.put(layer, integers(kept.get(layer)));
    }
    try (Model pruned = loader().optRetained(retained).load()) {
      assertPerplexities(pruned, variant);
    }
  }

  private static void assertPerplexities(Model measured, String variant) {
    JsonObject expected = reference.getAsJsonObject("ppl").getAsJsonObject(variant);
    for (String domain : List.of("prose", "code")) {
      double wanted = expected.getAsJsonObject(domain).get("ppl").getAsDouble();
      Perplexity actual = Perplexity.of(measured, Fixtures.naeeTokens("valid." + domain));
      assertThat(actual.perplexity())
          .as("%s on %s", variant, domain)
          .isCloseTo(wanted, within(0.001 * wanted));
    }
  }
}
