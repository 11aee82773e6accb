package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.internal.environment.WinnowVersion;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Pruning a real, if small, checkpoint, from folder to folder. */
class TinyMixtralPruningTest {
  private static final TokenSequences WINDOWS = Fixtures.naeeTokens("valid.code").slice(0, 6);

  @TempDir private Path folder;

  private static Calibration calibration(int sequences) {
    TokenSequences tokens = Fixtures.naeeTokens("calib.code");
    long[][] ids = new long[Math.min(sequences, tokens.count())][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = tokens.sequence(i);
    }
    return Calibration.ofTokens(ids);
  }

  private static Model load(Path checkpoint, DataType type) {
    return MoeModels.loader(checkpoint).optDevice(Device.cpu()).optDataType(type).load();
  }

  private static Map<Integer, List<Integer>> retained(PruningReport report) {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    report.layers().forEach(layer -> retained.put(layer.layer(), layer.retained()));
    return retained;
  }

  private static JsonObject winnow(Path checkpoint) throws IOException {
    return JsonParser.parseString(Files.readString(checkpoint.resolve("config.json")))
        .getAsJsonObject()
        .getAsJsonObject("winnow");
  }

  private static Map<Integer, List<Integer>> storedNumbers(JsonObject winnow) {
    Map<Integer, List<Integer>> numbers = new TreeMap<>();
    winnow
        .getAsJsonObject("retained")
        .entrySet()
        .forEach(
            layer -> {
              List<Integer> experts = new ArrayList<>();
              layer.getValue().getAsJsonArray().forEach(e -> experts.add(e.getAsInt()));
              numbers.put(Integer.valueOf(layer.getKey()), experts);
            });
    return numbers;
  }

  @ParameterizedTest(name = "{0}")
  @ValueSource(strings = {"FLOAT32", "BFLOAT16"})
  void aModelPrunedInPlaceIsSavedAndComesBack(String type) throws IOException {
    Path target = folder.resolve("pruned");
    Calibration calibration = calibration(8);
    PruningReport report;
    Perplexity pruned;
    try (Model model = load(Fixtures.TINY_MIXTRAL, DataType.valueOf(type))) {
      Perplexity full = Perplexity.of(model, WINDOWS);
      report = ExpertPruner.builder().optSeed(11).build().pruneInPlace(model, calibration, 6);
      assertThat(MoeModel.of(model).moeLayers())
          .hasSize(4)
          .allSatisfy(layer -> assertThat(layer.numExperts()).isEqualTo(6));
      pruned = Perplexity.of(model, WINDOWS);
      assertThat(pruned.perplexity()).isGreaterThan(full.perplexity());
      MoeModels.save(model, target);
      JsonObject winnow = winnow(target);
      assertThat(winnow.get("method").getAsString()).isEqualTo("reconstruction");
      assertThat(winnow.get("calibration").getAsString()).isEqualTo(calibration.digest());
      assertThat(winnow.get("seed").getAsLong()).isEqualTo(11);
      assertThat(winnow.get("version").getAsString()).isEqualTo(WinnowVersion.get());
      assertThat(winnow.get("source").getAsString()).isEqualTo(report.provenance().source());
      assertThat(MoeModel.of(model).sourceDigest()).as("of a pruned model").isEmpty();
      assertThat(storedNumbers(winnow)).isEqualTo(retained(report));
    }
    try (Model reloaded = load(target, DataType.valueOf(type))) {
      assertThat(Perplexity.of(reloaded, WINDOWS)).isEqualTo(pruned);
    }
  }

  @Test
  void pruningTwiceRefersToTheExpertsOfTheSource() throws IOException {
    Path target = folder.resolve("pruned");
    Calibration calibration = calibration(4);
    Map<Integer, List<Integer>> expected = new TreeMap<>();
    Perplexity pruned;
    try (Model model = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32)) {
      PruningReport first = ExpertPruner.prune(model, calibration, 6);
      ExpertPruner frequency = ExpertPruner.builder().optMethod(PruningMethod.frequency()).build();
      PruningReport second = frequency.pruneInPlace(model, calibration, 4);
      for (PruningReport.Layer layer : second.layers()) {
        List<Integer> before = first.layers().get(layer.layer()).retained();
        expected.put(layer.layer(), layer.retained().stream().map(before::get).toList());
        assertThat(layer.dropped()).hasSize(2);
      }
      pruned = Perplexity.of(model, WINDOWS);
      MoeModels.save(model, target);
    }
    assertThat(storedNumbers(winnow(target))).isEqualTo(expected);
    assertThat(winnow(target).get("experts").getAsInt()).isEqualTo(8);
    assertThat(winnow(target).get("method").getAsString()).isEqualTo("frequency");
    try (Model reloaded = load(target, DataType.FLOAT32)) {
      assertThat(Perplexity.of(reloaded, WINDOWS)).isEqualTo(pruned);
    }
    try (Model selected =
        MoeModels.loader(Fixtures.TINY_MIXTRAL)
            .optDevice(Device.cpu())
            .optDataType(DataType.FLOAT32)
            .optRetained(expected)
            .load()) {
      assertThat(Perplexity.of(selected, WINDOWS)).isEqualTo(pruned);
    }
  }

  @ParameterizedTest(name = "r = {0}")
  @ValueSource(ints = {6, 4})
  void theStoredTypeLeadsToTheChoicesOfFloat32(int retained) {
    Calibration calibration = calibration(Integer.MAX_VALUE);
    PruningReport wanted;
    PruningReport actual;
    try (Model model = load(Fixtures.TINY_MIXTRAL, DataType.FLOAT32)) {
      wanted = ExpertPruner.builder().build().search(model, calibration, retained);
    }
    try (Model model = MoeModels.load(Fixtures.TINY_MIXTRAL, Device.cpu())) {
      assertThat(model.getDataType()).isEqualTo(DataType.BFLOAT16);
      actual = ExpertPruner.builder().build().search(model, calibration, retained);
    }
    int same = 0;
    for (int i = 0; i < 4; i++) {
      PruningReport.Layer expected = wanted.layers().get(i);
      PruningReport.Layer layer = actual.layers().get(i);
      same += layer.retained().equals(expected.retained()) ? 1 : 0;
      assertThat(layer.loss().getAsDouble())
          .isCloseTo(expected.loss().getAsDouble(), within(0.01 * expected.loss().getAsDouble()));
    }
    assertThat(same).as("layers of 4 with the same choice").isGreaterThanOrEqualTo(3);
  }
}
