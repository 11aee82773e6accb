package io.winnow.core.train;

import static io.winnow.core.Refusal.refused;
import static io.winnow.core.internal.decoder.MergedLayersTest.apply;
import static io.winnow.core.internal.decoder.MergedLayersTest.layers;
import static io.winnow.core.internal.decoder.MergedLayersTest.loader;
import static io.winnow.core.internal.decoder.MergedLayersTest.logits;
import static io.winnow.core.internal.decoder.MergedLayersTest.random;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import io.winnow.core.ExpertMerge;
import io.winnow.core.Fixtures;
import io.winnow.core.GarbageCollection;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.ResidentMemory;
import io.winnow.core.TokenSequences;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.MoeModels;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** W_RM and W_EM trained by Adam, with everything else frozen. */
class MergeTrainingTest {
  @TempDir private Path folder;

  private static TokenSequences text(int count, long seed) {
    Random random = new Random(seed);
    long[][] ids = new long[count][12];
    for (long[] sequence : ids) {
      Arrays.setAll(sequence, i -> random.nextInt(50));
    }
    return TokenSequences.of(ids);
  }

  private static Map<Integer, ExpertMerge> everywhere(ExpertMerge merge) {
    return new TreeMap<>(Map.of(0, merge, 1, merge));
  }

  @Test
  void theLossIsThatOfTheModelWithTheMerges() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    TokenSequences validation = text(5, 1);
    try (Model model = loader(checkpoint).load()) {
      MergeTraining.Result result =
          MergeTraining.builder()
              .optDistillation(0)
              .optSteps(6)
              .optBatchSize(3)
              .optValidationInterval(2)
              .build()
              .run(model, everywhere(random(1)), text(8, 2), validation);
      assertThat(result.history())
          .extracting(MergeTraining.Measurement::step)
          .containsExactly(0, 2, 4, 6);
      apply(model, random(1), 2);
      assertThat(result.history().get(0).validationLoss())
          .isCloseTo(Perplexity.of(model, validation).nll(), within(1e-4));
      layers(model).forEach(layer -> layer.applyMerge(result.merges().get(layer.layerIndex()), 2));
      assertThat(result.validationLoss())
          .isCloseTo(Perplexity.of(model, validation).nll(), within(1e-4));
      assertThat(result.validationLoss())
          .isEqualTo(
              result.history().stream()
                  .mapToDouble(MergeTraining.Measurement::validationLoss)
                  .min()
                  .orElseThrow());
    }
  }

  @Test
  void gradientsAreThoseOfFiniteDifferences() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    TokenSequences text = text(4, 3);
    ExpertMerge start = random(2);
    // All three experts are selected: no choice changes within a difference.
    MergeTraining training = MergeTraining.builder().optTopK(3).optDistillation(0).build();
    try (Model model = loader(checkpoint).load()) {
      float[][] gradients = training.gradients(model, everywhere(start), text).get(1);
      double step = 0.02;
      for (int matrix = 0; matrix < 2; matrix++) {
        boolean router = matrix == 0;
        for (int i = 0; i < 12; i++) {
          double slope =
              (loss(model, start, router, i / 4, i % 4, step, text)
                      - loss(model, start, router, i / 4, i % 4, -step, text))
                  / (2 * step);
          assertThat((double) gradients[matrix][i])
              .as("%s[%d, %d]", router ? "W_RM" : "W_EM", i / 4, i % 4)
              .isCloseTo(slope, within(0.005 + 0.02 * Math.abs(slope)));
        }
        assertThat(gradients[matrix])
            .as("some are not small")
            .satisfies(
                all ->
                    assertThat(IntStream.range(0, 12).filter(i -> Math.abs(all[i]) > 0.05))
                        .hasSizeGreaterThan(3));
      }
    }
  }

  /** DJL's arithmetic with a number leaves a graph with memory that the collector may reuse. */
  @Test
  void gradientsDoNotDependOnGarbageCollection() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    MergeTraining training = MergeTraining.ofDefaults();
    try (Model model = loader(checkpoint).load()) {
      Map<Integer, float[][]> first = training.gradients(model, everywhere(random(9)), text(4, 13));
      // A collector that never rests leaves the training no time.
      int[] sizes = IntStream.range(1, 64).map(i -> 8 * i).toArray();
      try (var collecting = GarbageCollection.start(sizes, (byte) 0x7f, Duration.ofMillis(10))) {
        for (int i = 0; i < 10; i++) {
          Map<Integer, float[][]> again =
              training.gradients(model, everywhere(random(9)), text(4, 13));
          assertThat(again.get(0)).isDeepEqualTo(first.get(0));
          assertThat(again.get(1)).isDeepEqualTo(first.get(1));
        }
      }
    }
  }

  /** The loss with one element of layer 1's matrices moved. */
  private static double loss(
      Model model,
      ExpertMerge start,
      boolean router,
      int row,
      int expert,
      double by,
      TokenSequences text) {
    double[][] mapping = start.routerMapping();
    double[][] merging = start.expertMerging();
    (router ? mapping : merging)[row][expert] += by;
    layers(model).get(0).applyMerge(start, 3);
    layers(model).get(1).applyMerge(ExpertMerge.of(mapping, merging), 3);
    return Perplexity.of(model, text).nll();
  }

  @Test
  void trainingPrunedExpertsOnTextLowersItsPerplexity() throws Exception {
    Map<Integer, ExpertMerge> start = new TreeMap<>();
    int[][] kept = keptByNaee();
    for (int layer = 0; layer < 4; layer++) {
      start.put(layer, ExpertMerge.ofRetained(8, kept[layer]));
    }
    TokenSequences tune = Fixtures.tuneTokens();
    TokenSequences measured = Fixtures.naeeTokens("valid.code").slice(0, 64);
    try (Model model = loader(Fixtures.TINY_MIXTRAL).load()) {
      layers(model).forEach(layer -> layer.applyMerge(start.get(layer.layerIndex()), 2));
      double before = Perplexity.of(model, measured).perplexity();
      MergeTraining.Result result =
          MergeTraining.builder()
              .optSteps(12)
              .build()
              .run(model, start, tune.slice(0, 56), tune.slice(56, 64));
      layers(model).forEach(layer -> layer.applyMerge(result.merges().get(layer.layerIndex()), 2));
      double after = Perplexity.of(model, measured).perplexity();
      assertThat(after).isLessThan(0.95 * before);
    }
  }

  private static int[][] keptByNaee() throws Exception {
    var kept =
        com.google.gson.JsonParser.parseString(Files.readString(Fixtures.NAEE_REFERENCE))
            .getAsJsonObject()
            .getAsJsonObject("keepsets")
            .get("naee_code_r4");
    return new com.google.gson.Gson().fromJson(kept, int[][].class);
  }

  @Test
  void theSameSeedGivesTheSameMatrices() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    MergeTraining training = MergeTraining.builder().optSteps(4).optBatchSize(3).build();
    MergeTraining other = MergeTraining.builder().optSteps(4).optBatchSize(3).optSeed(1).build();
    try (Model model = loader(checkpoint).load()) {
      float[] before = logits(model);
      Map<Integer, ExpertMerge> start = everywhere(random(3));
      MergeTraining.Result first = training.run(model, start, text(8, 4), text(4, 5));
      assertThat(training.run(model, start, text(8, 4), text(4, 5))).isEqualTo(first);
      assertThat(other.run(model, start, text(8, 4), text(4, 5)).history())
          .isNotEqualTo(first.history());
      assertThat(logits(model)).as("the model is as it was").isEqualTo(before);
    }
  }

  @Test
  void aLearningRateOfZeroFreezesAMatrixAndTopKMayBeLower() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    ExpertMerge start = random(4);
    try (Model model = loader(checkpoint).load()) {
      MergeTraining.Result result =
          MergeTraining.builder()
              .optDistillation(0)
              .optSteps(10)
              .optLearningRates(0, 0.05)
              .optTopK(1)
              .build()
              .run(model, Map.of(1, start), text(8, 6), text(8, 6));
      assertThat(result.step()).isPositive();
      assertThat(result.merges()).containsOnlyKeys(1);
      ExpertMerge after = result.merges().get(1);
      assertThat(after.routerMapping(0, 1)).isCloseTo(start.routerMapping(0, 1), within(1e-7));
      assertThat(after.expertMerging()).isNotEqualTo(start.expertMerging());
      layers(model).get(1).applyMerge(after, 1);
      assertThat(Perplexity.of(model, text(8, 6)).nll())
          .isCloseTo(result.validationLoss(), within(1e-4));
    }
  }

  @Test
  void aMergedCheckpointIsTrainedOn() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).load()) {
      apply(model, random(5), 2);
      MoeModels.save(model, folder.resolve("merged"));
    }
    try (Model model = loader(folder.resolve("merged")).load()) {
      ExpertMerge start = ExpertMerge.ofRetained(3, 0, 1, 2);
      MergeTraining.Result result =
          MergeTraining.builder()
              .optDistillation(0)
              .optSteps(8)
              .build()
              .run(model, everywhere(start), text(8, 7), text(8, 7));
      assertThat(result.history().get(0).validationLoss())
          .isCloseTo(Perplexity.of(model, text(8, 7)).nll(), within(1e-4));
      assertThat(result.validationLoss()).isLessThan(result.history().get(0).validationLoss());
    }
  }

  @Test
  void aTimeLimitEndsItAfterAStep() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).load()) {
      MergeTraining.Result result =
          MergeTraining.builder()
              .optTimeLimit(Duration.ZERO)
              .build()
              .run(model, everywhere(random(6)), text(8, 8), text(4, 9));
      assertThat(result.history()).hasSize(1);
      assertThat(result.step()).isZero();
      assertThat(result.merges().keySet()).containsExactlyInAnyOrder(0, 1);
    }
  }

  @Test
  void itCanBeInterrupted() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).load()) {
      Thread.currentThread().interrupt();
      assertThatThrownBy(
              () ->
                  MergeTraining.ofDefaults()
                      .run(model, everywhere(random(7)), text(8, 10), text(4, 11)))
          .isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  @Test
  void whatDoesNotFitIsRefusedBeforehand() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    Path narrow = new RandomCheckpoint().type(TensorType.BF16).write(folder.resolve("narrow"));
    MergeTraining training = MergeTraining.ofDefaults();
    TokenSequences text = text(4, 12);
    Map<Integer, ExpertMerge> start = everywhere(random(8));
    try (Model model = loader(checkpoint).load();
        Model stored = MoeModels.load(narrow, Device.cpu())) {
      refused("optDataType(FLOAT32)", () -> training.run(stored, start, text, text));
      refused("name at least one", () -> training.run(model, Map.of(), text, text));
      refused("[2]", () -> training.run(model, Map.of(2, random(8)), text, text));
      refused(
          "of 5 experts, but layer 0 has 4",
          () -> training.run(model, Map.of(0, ExpertMerge.ofRetained(5, 0, 1)), text, text));
      refused(
          "cannot select 4 of 3",
          () -> MergeTraining.builder().optTopK(4).build().run(model, start, text, text));
      TokenSequences single = TokenSequences.of(new long[][] {{1}});
      refused("use at least 2 for training", () -> training.run(model, start, single, text));
      refused("use at least 2 for validation", () -> training.run(model, start, text, single));
      TokenSequences foreign = TokenSequences.of(new long[][] {{1, 50}});
      refused("ids up to 50", () -> training.run(model, start, foreign, text));
      TokenSequences tooLong = TokenSequences.of(new long[1][65]);
      refused("sequences of 65 tokens", () -> training.run(model, start, text, tooLong));
    }
    refused("steps is 0", () -> MergeTraining.builder().optSteps(0));
    refused("batch size is 0", () -> MergeTraining.builder().optBatchSize(0));
    refused("validation interval is 0", () -> MergeTraining.builder().optValidationInterval(0));
    refused("top-k is 0", () -> MergeTraining.builder().optTopK(0));
    refused("NaN", () -> MergeTraining.builder().optLearningRates(0.1, Double.NaN));
    refused("1.5", () -> MergeTraining.builder().optDistillation(1.5));
    refused("-1.0", () -> MergeTraining.builder().optLearningRates(-1, 0));
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void trainingManyTimesStaysFlat() throws Exception {
    Path checkpoint =
        new RandomCheckpoint()
            .set("hidden_size", 128)
            .set("intermediate_size", 512)
            .write(folder.resolve("model"));
    MergeTraining training = MergeTraining.builder().optSteps(2).build();
    try (Model model = loader(checkpoint).load()) {
      int[] count = {0};
      // The stacked experts have 6.3 MB, a step's merged ones 4.7 MB: left behind, 250 MB or more.
      ResidentMemory.assertFlat(
          "train a merge",
          60,
          96L << 20,
          () -> {
            int i = count[0]++;
            return training.run(model, everywhere(random(i)), text(8, i), text(4, i));
          });
    }
  }
}
