package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Checkpoints pruned on disk, layer by layer, against models pruned in memory. */
class StreamingPruningTest {
  @TempDir private Path folder;

  static List<String> families() {
    return FamilyFixtures.FAMILIES;
  }

  /** Random token ids that every family's vocabulary has. */
  static Calibration randomTokens(int sequences, int length) {
    Random random = new Random(5);
    long[][] ids = new long[sequences][length];
    for (long[] row : ids) {
      for (int i = 0; i < length; i++) {
        row[i] = random.nextInt(50);
      }
    }
    return Calibration.ofTokens(ids);
  }

  private static PruningReport inMemory(
      ExpertPruner pruner, Path source, Calibration calibration, int retained, Path target) {
    try (Model model =
        MoeModels.loader(source).optDevice(Device.cpu()).optDataType(DataType.FLOAT32).load()) {
      PruningReport report = pruner.pruneInPlace(model, calibration, retained);
      MoeModels.save(model, target);
      return report;
    }
  }

  /** All files of a folder, by their names. */
  static Map<String, byte[]> contents(Path folder) throws IOException {
    Map<String, byte[]> contents = new TreeMap<>();
    try (Stream<Path> files = Files.walk(folder)) {
      files
          .filter(Files::isRegularFile)
          .forEach(
              file -> {
                try {
                  contents.put(folder.relativize(file).toString(), Files.readAllBytes(file));
                } catch (IOException e) {
                  throw new UncheckedIOException(e);
                }
              });
    }
    return contents;
  }

  static void assertSameFiles(Path actual, Path expected) throws IOException {
    Map<String, byte[]> found = contents(actual);
    Map<String, byte[]> wanted = contents(expected);
    assertThat(found).containsOnlyKeys(wanted.keySet());
    wanted.forEach((name, bytes) -> assertThat(found.get(name)).as(name).isEqualTo(bytes));
  }

  /** The names in the folder, hidden ones too. */
  private List<String> names() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  private static void assertSameReport(PruningReport actual, PruningReport expected) {
    assertThat(actual.plan()).isEqualTo(expected.plan());
    for (int i = 0; i < expected.layers().size(); i++) {
      PruningReport.Layer found = actual.layers().get(i);
      PruningReport.Layer wanted = expected.layers().get(i);
      assertThat(found.exact()).isEqualTo(wanted.exact());
      assertThat(found.losses()).hasSameSizeAs(wanted.losses());
      if (wanted.loss().isPresent()) {
        double loss = wanted.loss().getAsDouble();
        assertThat(found.loss().orElseThrow()).isBetween(loss * (1 - 1e-4), loss * (1 + 1e-4));
      }
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void theFolderIsThatOfTheModelPrunedInMemory(String family) throws IOException {
    Path source = Fixtures.golden(family);
    Calibration calibration = randomTokens(5, 16);
    ExpertPruner pruner = ExpertPruner.builder().optBatchTokens(32).build();
    int retained;
    try (Model model = MoeModels.load(source, Device.cpu())) {
      retained = MoeModel.of(model).moeLayers().get(0).numExperts() * 2 / 3;
    }
    PruningReport expected =
        inMemory(pruner, source, calibration, retained, folder.resolve("memory"));
    PruningReport report =
        pruner.pruneCheckpoint(source, calibration, retained, folder.resolve("streamed"));
    assertSameReport(report, expected);
    assertSameFiles(folder.resolve("streamed"), folder.resolve("memory"));
    assertThat(names()).containsExactly("memory", "streamed");
  }

  @Test
  void theTrainedModelIsPrunedAlike() throws IOException {
    Calibration calibration = Fixtures.naeeCalibration("code");
    PruningReport expected =
        inMemory(
            ExpertPruner.builder().build(),
            Fixtures.TINY_MIXTRAL,
            calibration,
            6,
            folder.resolve("memory"));
    PruningReport report =
        ExpertPruner.prune(Fixtures.TINY_MIXTRAL, calibration, 6, folder.resolve("streamed"));
    assertSameReport(report, expected);
    assertSameFiles(folder.resolve("streamed"), folder.resolve("memory"));
  }

  @Test
  void everyTensorIsReadOnceAndDevicesShareTheWork() throws IOException {
    Path source = Fixtures.TINY_MIXTRAL;
    Calibration calibration = randomTokens(8, 32);
    Map<String, Integer> reads = new ConcurrentHashMap<>();
    ExecutorService executor = Executors.newFixedThreadPool(3);
    try {
      ExpertPruner.builder()
          .optBatchTokens(64)
          .optDevices(Device.cpu(), Device.cpu())
          .optExecutor(executor)
          .optTensorListener(tensor -> reads.merge(tensor, 1, Integer::sum))
          .build()
          .pruneCheckpoint(source, calibration, 5, folder.resolve("two"));
    } finally {
      executor.shutdownNow();
    }
    ExpertPruner.builder()
        .optBatchTokens(64)
        .optMemory(1)
        .build()
        .pruneCheckpoint(source, calibration, 5, folder.resolve("one"));
    assertSameFiles(folder.resolve("two"), folder.resolve("one"));
    assertThat(reads.values()).as("reads of each tensor").containsOnly(1);
    assertThat(reads.keySet())
        .contains("model.embed_tokens.weight")
        .doesNotContain("lm_head.weight")
        .filteredOn(name -> name.contains(".experts."))
        .hasSize(4 * 8 * 3);
  }

  @Test
  void methodsThatMeasureNoLossComputeOnlyWhatTheyNeed() throws IOException {
    Path source = Fixtures.golden("qwen2_moe");
    Calibration calibration = randomTokens(4, 16);
    ExpertPruner.Builder builder = ExpertPruner.builder().optMeasureLoss(false).optBatchTokens(32);
    ExpertPruner frequency = builder.optMethod(PruningMethod.frequency()).build();
    PruningReport expected = inMemory(frequency, source, calibration, 5, folder.resolve("memory"));
    PruningReport report =
        frequency.pruneCheckpoint(source, calibration, 5, folder.resolve("streamed"));
    assertSameReport(report, expected);
    assertSameFiles(folder.resolve("streamed"), folder.resolve("memory"));
    List<String> reads = new ArrayList<>();
    ExpertPruner random =
        builder.optMethod(PruningMethod.random()).optTensorListener(reads::add).build();
    inMemory(random, source, calibration, 5, folder.resolve("random-memory"));
    random.pruneCheckpoint(source, calibration, 5, folder.resolve("random"));
    assertSameFiles(folder.resolve("random"), folder.resolve("random-memory"));
    assertThat(reads).isEmpty();
  }

  @Test
  void anEstimateIsOfTheFolderToComeAndChangesNothing() throws IOException {
    Calibration calibration = randomTokens(4, 16);
    StreamingEstimate estimate =
        ExpertPruner.builder()
            .build()
            .estimateCheckpoint(Fixtures.TINY_MIXTRAL, calibration, 6, folder.resolve("streamed"));
    assertThat(names()).isEmpty();
    ExpertPruner.prune(Fixtures.TINY_MIXTRAL, calibration, 6, folder.resolve("streamed"));
    long bytes =
        contents(folder.resolve("streamed")).values().stream().mapToLong(file -> file.length).sum();
    // The list of retained experts in config.json is not known before.
    assertThat(estimate.outputBytes()).isBetween(bytes - 1000, bytes + 1000);
    assertThat(estimate.temporaryBytes()).isEqualTo(2 * 4 * 16 * 128 * 4);
    assertThat(estimate.time()).isPositive();
    assertThat(estimate.layerBytes()).isGreaterThan(8 * 3 * 128 * 256 * 2);
    assertThat(estimate.memoryBytes()).isPositive();
  }

  @Test
  void whatCannotWorkIsRefusedBeforeAnythingIsMade() throws IOException {
    Path source = Fixtures.TINY_MIXTRAL;
    Path target = folder.resolve("streamed");
    Calibration calibration = randomTokens(2, 8);
    assertThatThrownBy(() -> ExpertPruner.prune(source, calibration, 1, target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Cannot retain 1 experts");
    assertThatThrownBy(
            () -> ExpertPruner.prune(Fixtures.golden("deepseek_v3"), calibration, 10, target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("multiple of 4");
    assertThatThrownBy(
            () ->
                ExpertPruner.prune(source, Calibration.ofTokens(new long[][] {{5000}}), 6, target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("5000");
    assertThatThrownBy(
            () ->
                ExpertPruner.builder()
                    .optProgressive(true)
                    .build()
                    .pruneCheckpoint(source, calibration, 6, target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Progressive pruning needs the whole model");
    assertThatThrownBy(() -> ExpertPruner.prune(source, calibration, 6, source.resolve("inside")))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("inside the source");
    assertThatThrownBy(
            () -> ExpertPruner.prune(source, calibration, 6, folder.resolve("no/folder")))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("does not exist");
    assertThatThrownBy(() -> ExpertPruner.builder().optMemory(0))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("must be positive");
    assertThatThrownBy(() -> ExpertPruner.builder().optDevices())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("at least one device");
    assertThat(names()).isEmpty();
    assertThat(source.resolveSibling(".inside.partial-prune")).doesNotExist();
  }

  @Test
  void damagedWeightsAreNamed() throws IOException {
    RandomCheckpoint checkpoint = new RandomCheckpoint();
    String damaged = "model.layers.1.block_sparse_moe.experts.2.w2.weight";
    float[] values = new float[16 * 24];
    values[7] = Float.NaN;
    List<OutputTensor> tensors = new ArrayList<>(checkpoint.tensors());
    tensors.replaceAll(
        tensor ->
            tensor.name().equals(damaged)
                ? OutputTensor.ofFloats(damaged, tensor.shape(), values)
                : tensor);
    Path source = checkpoint.write(folder.resolve("damaged"), tensors);
    assertThatThrownBy(
            () -> ExpertPruner.prune(source, randomTokens(2, 8), 3, folder.resolve("streamed")))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("expert 2 in layer 1 is not finite");
  }
}
