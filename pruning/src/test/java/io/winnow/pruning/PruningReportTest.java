package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.calibration.Calibration;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.OptionalDouble;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The report's JSON, which tools read. */
class PruningReportTest {
  private final FakeModel model = FakeModel.random(5, 2, 5, 6, 2, true);
  private final Calibration calibration = FakeModel.calibration(5, 6, 8);

  private JsonObject write(Path folder, PruningReport report) throws IOException {
    Path file = folder.resolve("report.json");
    report.write(file);
    return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
  }

  private static JsonArray array(int... numbers) {
    JsonArray array = new JsonArray();
    for (int number : numbers) {
      array.add(number);
    }
    return array;
  }

  @Test
  void aFullEnumerationIsReportedWithEveryLoss(@TempDir Path folder) throws IOException {
    PruningReport report =
        ExpertPruner.builder()
            .optSeed(9)
            .optSequencesPerGroup(2)
            .build()
            .search(model, calibration, 3);
    JsonObject json = write(folder, report);
    assertThat(json.keySet())
        .containsExactly(
            "kind",
            "version",
            "method",
            "retained_per_layer",
            "progressive",
            "sequences_per_group",
            "calibration",
            "calibration_tokens",
            "seed",
            "source",
            "seconds",
            "layers");
    assertThat(json.get("kind").getAsString()).isEqualTo("winnow-pruning-report");
    assertThat(json.get("method").getAsString()).isEqualTo("reconstruction");
    assertThat(json.get("retained_per_layer").getAsInt()).isEqualTo(3);
    assertThat(json.get("sequences_per_group").getAsInt()).isEqualTo(2);
    assertThat(json.get("calibration").getAsString()).isEqualTo(calibration.digest());
    assertThat(json.get("calibration_tokens").getAsInt()).isEqualTo(48);
    assertThat(json.get("seed").getAsInt()).isEqualTo(9);
    assertThat(json.get("source")).isEqualTo(JsonNull.INSTANCE);
    JsonArray layers = json.getAsJsonArray("layers");
    assertThat(layers).hasSize(2);
    for (int i = 0; i < 2; i++) {
      JsonObject layer = layers.get(i).getAsJsonObject();
      PruningReport.Layer expected = report.layers().get(i);
      assertThat(layer.get("layer").getAsInt()).isEqualTo(2 * i + 1).isEqualTo(expected.layer());
      assertThat(layer.get("kept"))
          .isEqualTo(array(expected.retained().stream().mapToInt(e -> e).toArray()));
      assertThat(layer.get("dropped"))
          .isEqualTo(array(expected.dropped().stream().mapToInt(e -> e).toArray()));
      assertThat(layer.get("loss").getAsDouble()).isEqualTo(expected.loss().getAsDouble());
      assertThat(layer.get("relative_loss").getAsDouble())
          .isEqualTo(expected.relativeLoss().getAsDouble());
      assertThat(layer.get("exact").getAsBoolean()).isTrue();
      assertThat(layer.get("runner_up_loss").getAsDouble())
          .isEqualTo(expected.losses().get(1).loss());
      JsonObject losses = layer.getAsJsonObject("losses");
      assertThat(losses.keySet())
          .containsExactly("0,1", "0,2", "0,3", "0,4", "1,2", "1,3", "1,4", "2,3", "2,4", "3,4");
      for (SubsetLoss loss : expected.losses()) {
        String key = loss.dropped().get(0) + "," + loss.dropped().get(1);
        assertThat(losses.get(key).getAsDouble()).isEqualTo(loss.loss());
      }
    }
  }

  @Test
  void withoutFullEnumerationOnlyTheBestAndTheRunnerUpAreReported(@TempDir Path folder)
      throws IOException {
    JsonObject json =
        write(
            folder,
            ExpertPruner.builder()
                .optMethod(PruningMethod.reconstruction(3))
                .build()
                .search(model, calibration, 3));
    for (JsonElement element : json.getAsJsonArray("layers")) {
      JsonObject layer = element.getAsJsonObject();
      assertThat(layer.get("exact").getAsBoolean()).isFalse();
      assertThat(layer.has("losses")).isFalse();
      assertThat(layer.getAsJsonArray("runner_up_dropped")).hasSize(2);
      assertThat(layer.get("runner_up_loss").getAsDouble())
          .isGreaterThanOrEqualTo(layer.get("loss").getAsDouble());
    }
  }

  @Test
  void aLossThatWasNotMeasuredIsNull(@TempDir Path folder) throws IOException {
    JsonObject json =
        write(
            folder,
            ExpertPruner.builder()
                .optMethod(PruningMethod.random())
                .optMeasureLoss(false)
                .build()
                .search(model, calibration, 3));
    assertThat(json.get("calibration")).isEqualTo(JsonNull.INSTANCE);
    for (JsonElement layer : json.getAsJsonArray("layers")) {
      assertThat(layer.getAsJsonObject().get("loss")).isEqualTo(JsonNull.INSTANCE);
      assertThat(layer.getAsJsonObject().get("relative_loss")).isEqualTo(JsonNull.INSTANCE);
      assertThat(layer.getAsJsonObject().has("losses")).isFalse();
    }
  }

  private static void dropTimes(JsonObject json) {
    json.remove("seconds");
    json.getAsJsonArray("layers").forEach(layer -> layer.getAsJsonObject().remove("seconds"));
  }

  @Test
  void twoRunsDifferInTheirTimesOnly(@TempDir Path folder) throws IOException {
    for (PruningMethod method : PruningMethod.all()) {
      for (boolean progressive : new boolean[] {false, true}) {
        ExpertPruner pruner =
            ExpertPruner.builder().optMethod(method).optProgressive(progressive).optSeed(3).build();
        PruningReport first = pruner.search(model, calibration, 3);
        PruningReport second = pruner.search(model, calibration, 3);
        Path one = folder.resolve("one.json");
        Path two = folder.resolve("two.json");
        first.plan().write(one);
        second.plan().write(two);
        assertThat(one).as(method.name()).hasSameBinaryContentAs(two);
        assertThat(PruningPlan.read(one)).isEqualTo(first.plan());
        JsonObject firstJson = JsonParser.parseString(first.toJson()).getAsJsonObject();
        JsonObject secondJson = JsonParser.parseString(second.toJson()).getAsJsonObject();
        dropTimes(firstJson);
        dropTimes(secondJson);
        assertThat(firstJson.toString()).as(method.name()).isEqualTo(secondJson.toString());
      }
    }
  }

  @Test
  void theSearchLeavesTheModelAndPruningFollowsTheReport() {
    String before = model.state();
    PruningReport report = ExpertPruner.builder().build().search(model, calibration, 3);
    assertThat(model.state()).isEqualTo(before);
    FakeModel planned = model.copy();
    report.plan().applyTo(planned);
    PruningReport pruned = ExpertPruner.prune(model, calibration, 3);
    assertThat(pruned.layers())
        .extracting(PruningReport.Layer::retained)
        .isEqualTo(report.layers().stream().map(PruningReport.Layer::retained).toList());
    assertThat(model.state()).isEqualTo(planned.state());
    assertThat(model.provenances).isEqualTo(List.of(report.provenance()));
    assertThat(model.layers).allSatisfy(layer -> assertThat(layer.numExperts()).isEqualTo(3));
    assertThat(report.time()).isPositive();
  }

  @Test
  void aLayerIsReadBackFromItsJson() {
    SubsetLoss best = new SubsetLoss(List.of(1, 2), 0.1 + 0.2);
    SubsetLoss second = new SubsetLoss(List.of(0, 2), 1e300);
    PruningReport.Layer exact =
        new PruningReport.Layer(
            3,
            List.of(0, 3),
            List.of(1, 2),
            OptionalDouble.of(best.loss()),
            OptionalDouble.of(1 / 3.0),
            true,
            List.of(best, second),
            0,
            Duration.ofMillis(1234));
    assertThat(LayerJson.read(LayerJson.write(exact))).isEqualTo(exact);
    PruningReport.Layer descended =
        new PruningReport.Layer(
            3,
            exact.retained(),
            exact.dropped(),
            exact.loss(),
            exact.relativeLoss(),
            false,
            exact.losses(),
            7,
            exact.time());
    assertThat(LayerJson.read(LayerJson.write(descended))).isEqualTo(descended);
    PruningReport.Layer unmeasured =
        new PruningReport.Layer(
            0,
            List.of(0, 1),
            List.of(),
            OptionalDouble.empty(),
            OptionalDouble.empty(),
            true,
            List.of(),
            0,
            Duration.ZERO);
    assertThat(LayerJson.read(LayerJson.write(unmeasured))).isEqualTo(unmeasured);
  }
}
