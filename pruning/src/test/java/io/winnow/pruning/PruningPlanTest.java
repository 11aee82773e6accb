package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Plans as files, and applied to models. */
class PruningPlanTest {
  private static final Provenance PROVENANCE =
      new Provenance("reconstruction", "sha256:12", -7, "sha256:34");

  @TempDir private Path folder;

  private Path file(String content) throws IOException {
    return Files.writeString(folder.resolve("plan.json"), content);
  }

  @Test
  void aPlanIsReadAsItWasWritten() throws IOException {
    PruningPlan plan =
        PruningPlan.of(
            Map.of(0, List.of(0, 2, 5), 10, List.of(1, 3), 9, List.of(0, 1)), PROVENANCE);
    Path file = folder.resolve("plan.json");
    plan.write(file);
    assertThat(Files.readString(file)).startsWith("{\n  \"kind\": \"winnow-pruning-plan\",\n");
    assertThat(plan.toJson()).startsWith("{\"kind\":\"winnow-pruning-plan\",\"version\":1,");
    PruningPlan read = PruningPlan.read(file);
    assertThat(read).isEqualTo(plan).hasSameHashCodeAs(plan);
    assertThat(read.retained().keySet()).containsExactly(0, 9, 10);
    assertThat(read.provenance()).isEqualTo(PROVENANCE);
    plan.write(file);
    assertThat(PruningPlan.read(file)).isEqualTo(plan);
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files).containsExactly(file);
    }
    assertThat(plan.toString()).contains("0=[0, 2, 5]");
  }

  @Test
  void plansAreEqualIfChoiceAndProvenanceAre() {
    PruningPlan plan = PruningPlan.of(Map.of(0, List.of(0, 1)), PROVENANCE);
    assertThat(plan).isEqualTo(PruningPlan.of(Map.of(0, List.of(0, 1)), PROVENANCE));
    assertThat(plan).isNotEqualTo(PruningPlan.of(Map.of(0, List.of(0, 2)), PROVENANCE));
    assertThat(plan)
        .isNotEqualTo(
            PruningPlan.of(Map.of(0, List.of(0, 1)), new Provenance("random", null, 0, null)));
    assertThat(plan).isNotEqualTo("plan");
  }

  @Test
  void versionAndRetainedAreEnough() throws IOException {
    PruningPlan plan = PruningPlan.read(file("{\"version\": 1, \"retained\": {\"3\": [0, 4]}}"));
    assertThat(plan.retained()).isEqualTo(Map.of(3, List.of(0, 4)));
    assertThat(plan.provenance()).isEqualTo(new Provenance("plan", null, 0, null));
  }

  @Test
  void fieldsThatAreNotKnownAndNullsAreNoObstacle() throws IOException {
    PruningPlan plan =
        PruningPlan.read(
            file(
                """
                {"retained": {"0": [0, 1]}, "version": 1, "calibration": null, "source": null,
                 "method": null, "note": {"by": ["hand", {"x": 1}]}}
                """));
    assertThat(plan.provenance()).isEqualTo(new Provenance("plan", null, 0, null));
  }

  @ParameterizedTest(name = "[{index}] {0}")
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{\"retained\": {\"0\": [0, 1]}} | says version null",
        "{\"version\": 2, \"retained\": {\"0\": [0, 1]}} | says version 2",
        "{\"version\": 1.5, \"retained\": {\"0\": [0, 1]}} | 'version' is 1.5",
        "{\"version\": \"1\", \"retained\": {\"0\": [0, 1]}} | 'version' is \"1\"",
        "{\"version\": null, \"retained\": {\"0\": [0, 1]}} | 'version' is null",
        "{\"version\": 1} | no object 'retained'",
        "{\"version\": 1, \"retained\": [[0, 1]]} | no object 'retained'",
        "{\"version\": 1, \"retained\": null} | no object 'retained'",
        "{\"version\": 1, \"retained\": {}} | names no layer",
        "{\"version\": 1, \"retained\": {\"0\": 3}} | layer 0 is 3",
        "{\"version\": 1, \"retained\": {\"0\": null}} | layer 0 is null",
        "{\"version\": 1, \"retained\": {\"0\": {\"0\": 1}}} | layer 0 is",
        "{\"version\": 1, \"retained\": {\"0\": [\"0\", \"1\"]}} | expert of layer 0 is \"0\"",
        "{\"version\": 1, \"retained\": {\"0\": [0.5, 1]}} | expert of layer 0 is 0.5",
        "{\"version\": 1, \"retained\": {\"0\": [0, 1e99]}} | expert of layer 0 is 1e99",
        "{\"version\": 1, \"retained\": {\"0\": [0, 4294967297]}} | expert of layer 0",
        "{\"version\": 1, \"retained\": {\"0\": [0, true]}} | expert of layer 0 is true",
        "{\"version\": 1, \"retained\": {\"0\": [0, null]}} | expert of layer 0 is null",
        "{\"version\": 1, \"retained\": {\"0\": [0, [1]]}} | expert of layer 0 is [1]",
        "{\"version\": 1, \"retained\": {\"first\": [0, 1]}} | 'first' is not the number",
        "{\"version\": 1, \"retained\": {\"\": [0, 1]}} | '' is not the number",
        "{\"version\": 1, \"retained\": {\"0\": [0, 1], \"0\": [0, 2]}} | '0' occurs twice",
        "{\"version\": 1, \"retained\": {\"0\": [0, 1], \"00\": [0, 2]}} | layer 00 occurs twice",
        "{\"version\": 1, \"version\": 1, \"retained\": {\"0\": [0, 1]}} | 'version' occurs twice",
        "{\"version\": 1, \"retained\": {\"0\": [0, 1]}, \"seed\": \"x\"} | 'seed' is \"x\"",
        "{\"version\": 1, \"retained\": {\"0\": [0, 1]}, \"method\": [1]} | 'method' is [1]",
        "{\"version\": 1, \"retained\": {\"0\": [0, 1]}} {} | not a pruning plan",
        "{version: 1, retained: {'0': [0, 1]}} | not a pruning plan",
        "{\"version\": 1, \"retained\": {\"0\": [0, | not a pruning plan",
        "[1, 2] | no JSON object",
        "7 | no JSON object",
        "nonsense | not a pruning plan",
        "`` | not a pruning plan",
      })
  void whatIsNoPlanIsRefused(String content, String message) throws IOException {
    Path file = file(content);
    assertThatThrownBy(() -> PruningPlan.read(file))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(file.toString())
        .hasMessageContaining(message);
  }

  @Test
  void aFileOfAnotherKindIsNamed() throws IOException {
    FakeModel model = FakeModel.random(1, 2, 6, 4, 2, true);
    Calibration calibration = FakeModel.calibration(1, 2, 8);
    ExpertPruner pruner = ExpertPruner.builder().build();
    Path report = folder.resolve("report.json");
    pruner.search(model, calibration, 4).write(report);
    assertThatThrownBy(() -> PruningPlan.read(report))
        .isInstanceOf(InvalidInputException.class)
        .hasMessage(
            report
                + " is a pruning report (kind winnow-pruning-report), not a pruning plan (kind"
                + " winnow-pruning-plan); write one with PruningPlan.write");
    Path statistics = folder.resolve("statistics.winnow");
    pruner.calibrate(model, calibration).write(statistics);
    assertThatThrownBy(() -> PruningPlan.read(statistics))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("is calibration statistics (kind winnow-calibration-statistics)");
  }

  @Test
  void filesThatCannotBeReadAreRefused() throws IOException {
    Path binary = Files.write(folder.resolve("binary"), new byte[] {'{', (byte) 0xff, 0, '}'});
    for (Path file : List.of(binary, folder, folder.resolve("absent.json"))) {
      assertThatThrownBy(() -> PruningPlan.read(file))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining(file.toString());
    }
  }

  @Test
  void aDeeplyNestedFileIsRefused() throws IOException {
    String deep = "{\"a\":".repeat(10_000) + "1" + "}".repeat(10_000);
    Path file = file(deep);
    assertThatThrownBy(() -> PruningPlan.read(file)).isInstanceOf(InvalidInputException.class);
  }

  @Test
  void whatCannotBeWrittenLeavesNothingBehind() throws IOException {
    PruningPlan plan = PruningPlan.of(Map.of(0, List.of(0, 1)), PROVENANCE);
    Path directory = Files.createDirectory(folder.resolve("directory"));
    assertThatThrownBy(() -> plan.write(directory)).isInstanceOf(IOException.class);
    assertThatThrownBy(() -> plan.write(folder.resolve("absent/plan.json")))
        .isInstanceOf(IOException.class);
    assertThatThrownBy(() -> plan.write(Path.of("/"))).isInstanceOf(IOException.class);
    assertThat(directory).isEmptyDirectory();
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files).containsExactly(directory);
    }
  }

  @Test
  void aPlanHasThePermissionsOfAnyNewFile() throws IOException {
    Path ordinary = Files.writeString(folder.resolve("ordinary"), "");
    Path file = folder.resolve("plan.json");
    PruningPlan.of(Map.of(0, List.of(0, 1)), PROVENANCE).write(file);
    if (Files.getFileStore(file).supportsFileAttributeView("posix")) {
      assertThat(Files.getPosixFilePermissions(file))
          .isEqualTo(Files.getPosixFilePermissions(ordinary))
          .contains(PosixFilePermission.OWNER_READ);
    }
  }

  @Test
  void anEmptyPlanIsRefused() {
    assertThatThrownBy(() -> PruningPlan.of(Map.of(), PROVENANCE))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("at least one layer");
  }

  /** The fake's MoE layers have the numbers 1 and 3, of 6 experts, top-2. */
  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      value = {
        "{1: [0, 1]}                     | MoE layers are [1, 3]",
        "{0: [0, 1], 1: [0, 1], 3: [0, 1]} | MoE layers are [1, 3]",
        "{1: [0, 1], 4: [0, 1]}          | MoE layers are [1, 3]",
        "{1: [0, 1], 3: [0, 6]}          | Layer 3 has the experts 0 to 5",
        "{1: [0, 1], 3: [-1, 2]}         | Layer 3 has the experts 0 to 5",
        "{1: [0, 1], 3: [2, 1]}          | must ascend",
        "{1: [0, 1], 3: [2, 2]}          | must ascend",
        "{1: [0, 1], 3: [2]}             | every token selects 2",
        "{1: [0, 1], 3: []}              | every token selects 2",
      })
  void aPlanThatDoesNotFitLeavesTheModelAsItWas(String retained, String message)
      throws IOException {
    FakeModel model = FakeModel.random(1, 2, 6, 4, 2, true);
    String before = model.state();
    String quoted = retained.replaceAll("(\\d+):", "\"$1\":");
    PruningPlan plan = PruningPlan.read(file("{\"version\": 1, \"retained\": " + quoted + "}"));
    assertThatThrownBy(() -> plan.applyTo(model))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
    assertThat(model.state()).isEqualTo(before);
  }

  @Test
  void applyingAPlanKeepsGateRowsAndExpertsAndNotesWhereItComesFrom() {
    FakeModel model = FakeModel.random(1, 2, 6, 4, 2, true);
    FakeModel original = model.copy();
    PruningPlan plan =
        PruningPlan.of(Map.of(1, List.of(1, 4, 5), 3, List.of(0, 1, 2, 3, 4, 5)), PROVENANCE);
    plan.applyTo(model);
    assertThat(model.layers.get(0).gate)
        .isDeepEqualTo(
            new float[][] {
              original.layers.get(0).gate[1],
              original.layers.get(0).gate[4],
              original.layers.get(0).gate[5]
            });
    assertThat(model.layers.get(0).experts)
        .containsExactly(
            original.layers.get(0).experts.get(1),
            original.layers.get(0).experts.get(4),
            original.layers.get(0).experts.get(5));
    assertThat(model.layers.get(1).numExperts()).isEqualTo(6);
    assertThat(model.provenances).containsExactly(PROVENANCE);
    assertThatThrownBy(() -> plan.applyTo(model)).hasMessageContaining("applied already");
  }

  @Test
  void pruningApplyingAndLoadingGiveTheSameModel() throws IOException {
    TokenSequences windows = Fixtures.naeeTokens("valid.code").slice(0, 4);
    TokenSequences tokens = Fixtures.naeeTokens("calib.code").slice(0, 2);
    Calibration calibration =
        Calibration.ofTokens(new long[][] {tokens.sequence(0), tokens.sequence(1)});
    Path file = folder.resolve("plan.json");
    Perplexity pruned;
    try (Model model = loader().load()) {
      ExpertPruner pruner = ExpertPruner.builder().optSeed(5).build();
      pruner.pruneInPlace(model, calibration, 4).plan().write(file);
      pruned = Perplexity.of(model, windows);
    }
    PruningPlan plan = PruningPlan.read(file);
    try (Model model = loader().load()) {
      assertThat(Perplexity.of(model, windows)).isNotEqualTo(pruned);
      plan.applyTo(model);
      assertThat(Perplexity.of(model, windows)).isEqualTo(pruned);
    }
    try (Model model = loader().optRetained(plan.retained()).load()) {
      assertThat(Perplexity.of(model, windows)).isEqualTo(pruned);
    }
  }

  private static MoeModels.Loader loader() {
    return MoeModels.loader(Fixtures.TINY_MIXTRAL)
        .optDevice(Device.cpu())
        .optDataType(DataType.FLOAT32);
  }

  @Test
  void theFileIsUtf8() throws IOException {
    Path file = folder.resolve("plan.json");
    PruningPlan.of(Map.of(0, List.of(0, 1)), new Provenance("höflich <&>", null, 0, null))
        .write(file);
    assertThat(Files.readString(file, StandardCharsets.UTF_8)).contains("höflich <&>");
    assertThat(PruningPlan.read(file).provenance().method()).isEqualTo("höflich <&>");
  }
}
