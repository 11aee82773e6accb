package io.winnow.core.train;

import static io.winnow.core.Refusal.refused;
import static io.winnow.core.internal.decoder.MergedLayersTest.apply;
import static io.winnow.core.internal.decoder.MergedLayersTest.loader;
import static io.winnow.core.internal.decoder.MergedLayersTest.logits;
import static io.winnow.core.internal.decoder.MergedLayersTest.random;
import static io.winnow.core.train.TrainingFixtures.brief;
import static io.winnow.core.train.TrainingFixtures.counting;
import static io.winnow.core.train.TrainingFixtures.weights;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.Fixtures;
import io.winnow.core.MoeModel;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.ResidentMemory;
import io.winnow.core.TokenSequences;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** A model's weights trained by DJL's trainer, with a teacher and without. */
class FineTuningTest {
  @TempDir private Path folder;

  private Path checkpoint() throws IOException {
    return new RandomCheckpoint().write(folder.resolve("model"));
  }

  @Test
  void theLossFallsAndTheModelHasTheBestWeights() throws Exception {
    TokenSequences validation = counting(6, 1);
    FineTuning.Result result;
    try (Model model = loader(checkpoint()).load()) {
      double before = Perplexity.of(model, validation).nll();
      result =
          FineTuning.builder()
              .optSteps(30)
              .optBatchSize(8)
              .optLearningRate(0.02)
              .optValidationInterval(10)
              .build()
              .run(model, counting(20, 2), validation);
      assertThat(result.history())
          .extracting(FineTuning.Measurement::step)
          .containsExactly(0, 10, 20, 30);
      assertThat(result.history().get(0).trainingLoss()).isNaN();
      assertThat(result.history().get(0).validationLoss()).isCloseTo(before, within(1e-4));
      assertThat(result.history().get(3).trainingLoss())
          .isLessThan(0.5 * result.history().get(1).trainingLoss());
      assertThat(result.validationLoss()).isLessThan(0.5 * before);
      assertThat(result.steps()).isEqualTo(30);
      assertThat(Perplexity.of(model, validation).nll())
          .isCloseTo(result.validationLoss(), within(1e-4));
      MoeModels.save(model, folder.resolve("trained"));
    }
    try (Model model = loader(folder.resolve("trained")).load()) {
      assertThat(Perplexity.of(model, validation).nll())
          .isCloseTo(result.validationLoss(), within(1e-4));
    }
  }

  @Test
  void whatFitsTheTrainingTextTooWellIsNotKept() throws Exception {
    // Nothing of the validation text can be learnt from the training text.
    TokenSequences training = TokenSequences.of(new long[][] {{1, 2, 3, 1, 2, 3, 1, 2}});
    TokenSequences validation = TokenSequences.of(new long[][] {{40, 30, 45, 33, 41, 38, 36, 44}});
    try (Model model = loader(checkpoint()).load()) {
      Map<String, float[]> before = weights(model);
      FineTuning.Result result =
          FineTuning.builder()
              .optSteps(20)
              .optLearningRate(0.05)
              .optValidationInterval(10)
              .build()
              .run(model, training, validation);
      assertThat(result.history().get(2).trainingLoss())
          .isLessThan(result.history().get(1).trainingLoss());
      assertThat(result.history().get(2).validationLoss())
          .isGreaterThan(result.history().get(0).validationLoss());
      assertThat(result.step()).isZero();
      assertThat(weights(model)).usingRecursiveComparison().isEqualTo(before);
    }
  }

  @Test
  void aTeacherIsFollowed() throws Exception {
    Path other =
        new RandomCheckpoint().seed(2).type(TensorType.BF16).write(folder.resolve("other"));
    TokenSequences text = counting(16, 3);
    try (Model model = loader(checkpoint()).load();
        Model teacher = MoeModels.load(other, Device.cpu())) {
      float[] expected = probabilities(teacher);
      double before = divergence(expected, probabilities(model));
      FineTuning.builder()
          .optSteps(40)
          .optLearningRate(0.02)
          .optDistillation(1, 2)
          .build()
          .run(model, teacher, text, textOf(teacher));
      assertThat(divergence(expected, probabilities(model))).isLessThan(0.5 * before);
    }
  }

  /** The teacher's own greedy choices, of which a student that follows expects more. */
  private static TokenSequences textOf(Model teacher) {
    long[] ids = new long[10];
    ids[0] = 7;
    for (int i = 1; i < ids.length; i++) {
      float[] logits = logitsOf(teacher, Arrays.copyOf(ids, i));
      int from = logits.length - 50;
      ids[i] =
          IntStream.range(0, 50)
              .reduce((a, b) -> logits[from + b] > logits[from + a] ? b : a)
              .orElseThrow();
    }
    return TokenSequences.of(new long[][] {ids});
  }

  private static float[] logitsOf(Model model, long... ids) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDArray input = manager.create(ids, new Shape(1, ids.length));
      return model
          .getBlock()
          .forward(new ai.djl.training.ParameterStore(manager, false), new NDList(input), false)
          .singletonOrThrow()
          .toFloatArray();
    }
  }

  private static float[] probabilities(Model model) {
    float[] logits = logitsOf(model, counting(16, 3).sequence(0));
    for (int from = 0; from < logits.length; from += 50) {
      double sum = 0;
      for (int i = from; i < from + 50; i++) {
        sum += Math.exp(logits[i]);
      }
      for (int i = from; i < from + 50; i++) {
        logits[i] = (float) (Math.exp(logits[i]) / sum);
      }
    }
    return logits;
  }

  private static double divergence(float[] p, float[] q) {
    return IntStream.range(0, p.length).mapToDouble(i -> p[i] * Math.log(p[i] / q[i])).sum();
  }

  @Test
  void theLossIsThatOfTextAndTeacher() throws Exception {
    Path other = new RandomCheckpoint().seed(2).write(folder.resolve("other"));
    TokenSequences one = TokenSequences.of(new long[][] {counting(16, 3).sequence(0)});
    try (Model model = loader(checkpoint()).load();
        Model teacher = loader(other).load()) {
      double ofText = Perplexity.of(model, one).nll();
      float[] p = probabilities(teacher);
      float[] q = probabilities(model);
      double ofTeacher =
          -IntStream.range(0, 9 * 50).mapToDouble(i -> p[i] * Math.log(q[i])).sum() / 9;
      FineTuning.Result result =
          FineTuning.builder()
              .optSteps(1)
              .optDistillation(0.25, 1)
              .build()
              .run(model, teacher, one, one);
      assertThat(result.history().get(1).trainingLoss())
          .isCloseTo(0.75 * ofText + 0.25 * ofTeacher, within(1e-4));
    }
  }

  @Test
  void twoBatchesOfNEqualOneOfTwoN() throws Exception {
    TokenSequences text = counting(20, 4);
    Path checkpoint = checkpoint();
    try (Model model = loader(checkpoint).load();
        Model same = loader(checkpoint).load()) {
      FineTuning.Result added =
          brief().optBatchSize(4).optAccumulation(2).build().run(model, text, text);
      FineTuning.Result whole = brief().optBatchSize(8).build().run(same, text, text);
      for (int i = 0; i < added.history().size(); i++) {
        assertThat(added.history().get(i).validationLoss())
            .isCloseTo(whole.history().get(i).validationLoss(), within(1e-3));
      }
      assertThat(added.validationLoss()).isLessThan(added.history().get(0).validationLoss());
    }
  }

  /** The first step of AdamW moves every weight by the rate, whatever its gradient. */
  @Test
  void aStepIsThatOfAdamW() throws Exception {
    Path checkpoint = checkpoint();
    TokenSequences text = counting(8, 5);
    double rate = 0.003;
    try (Model model = loader(checkpoint).load()) {
      Map<String, float[]> before = weights(model);
      FineTuning.builder()
          .optSteps(1)
          .optLearningRate(rate)
          .optWeightDecay(10)
          .optClip(0)
          .build()
          .run(model, text, text);
      Map<String, float[]> after = weights(model);
      movesBy(rate, before.get("lm_head.weight"), after.get("lm_head.weight"), 1 - 10 * rate);
      // Norms do not decay.
      movesBy(rate, before.get("model.norm.weight"), after.get("model.norm.weight"), 1);
    }
  }

  /** Less where a gradient is so small that AdamW's epsilon counts. */
  private static void movesBy(double rate, float[] before, float[] after, double decay) {
    double[] moves =
        IntStream.range(0, before.length)
            .mapToDouble(i -> Math.abs(after[i] - decay * before[i]))
            .toArray();
    assertThat(Arrays.stream(moves).max().orElseThrow()).isCloseTo(rate, within(1e-5));
    assertThat(Arrays.stream(moves).filter(move -> move > 0.99 * rate).count())
        .isGreaterThan(before.length * 9L / 10);
  }

  @Test
  void routersAndNormsAloneLeaveTheRestUnchanged() throws Exception {
    Path checkpoint = checkpoint();
    Path target = folder.resolve("trained");
    try (Model model = loader(checkpoint).load()) {
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 2, 3));
      FineTuning.Result result =
          brief()
              .optTrained(FineTuning.Trained.ROUTERS_AND_NORMS)
              .build()
              .run(model, counting(20, 6), counting(20, 6));
      assertThat(result.step()).isPositive();
      MoeModels.save(model, target);
    }
    Checkpoint source = Checkpoint.open(checkpoint);
    Checkpoint written = Checkpoint.open(target);
    List<Integer> kept = List.of(0, 2, 3);
    for (String name : written.tensors().keySet()) {
      boolean trained = name.contains("norm") || name.endsWith("gate.weight");
      String original = name;
      for (int i = 0; i < 3; i++) {
        original = original.replace("experts." + i + ".w", "experts.#" + kept.get(i) + ".w");
      }
      byte[] then = bytes(source, original.replace("#", ""));
      if (!name.endsWith("gate.weight")) {
        assertThat(Arrays.equals(bytes(written, name), then)).as(name).isEqualTo(!trained);
      }
    }
  }

  private static byte[] bytes(Checkpoint checkpoint, String name) {
    var info = checkpoint.tensor(name);
    byte[] bytes = new byte[(int) info.length()];
    io.winnow.core.internal.safetensors.SafetensorsFile.open(info.file()).read(name).get(bytes);
    return bytes;
  }

  @Test
  void itRunsInAnyThreadAndAModelIsTrainedOn() throws Exception {
    TokenSequences text = counting(9, 14);
    Path checkpoint = checkpoint();
    ExecutorService executor = Executors.newSingleThreadExecutor();
    try (Model model = loader(checkpoint).load();
        Model other = loader(checkpoint).load()) {
      FineTuning.Result first = executor.submit(() -> brief().build().run(model, text, text)).get();
      assertThat(brief().build().run(other, text, text)).isEqualTo(first);
      FineTuning.Result second = brief().build().run(model, text, text);
      assertThat(second.history().get(0).validationLoss()).isEqualTo(first.validationLoss());
      assertThat(second.validationLoss()).isLessThan(first.validationLoss());
    } finally {
      executor.shutdownNow();
    }
  }

  @Test
  void aPrunedModelRecoversAndIsWrittenInItsTypes() throws Exception {
    TokenSequences tune = Fixtures.tuneTokens();
    TokenSequences validation = tune.slice(48, 64);
    double reached;
    try (Model model = loader(Fixtures.TINY_MIXTRAL_R4).load();
        Model teacher = loader(Fixtures.TINY_MIXTRAL).load()) {
      FineTuning.Result result =
          FineTuning.builder()
              .optSteps(8)
              .optBatchSize(8)
              .optValidationInterval(8)
              .build()
              .run(model, teacher, tune.slice(0, 48), validation);
      reached = result.validationLoss();
      double pruned = result.history().get(0).validationLoss();
      double full = Perplexity.of(teacher, validation).nll();
      assertThat((pruned - reached) / (pruned - full)).as("share recovered").isGreaterThan(0.2);
      MoeModels.save(model, folder.resolve("written"));
    }
    Checkpoint written = Checkpoint.open(folder.resolve("written"));
    assertThat(written.tensor("lm_head.weight").type()).isEqualTo(TensorType.BF16);
    try (Model model = loader(folder.resolve("written")).load()) {
      assertThat(Perplexity.of(model, validation).nll()).isCloseTo(reached, within(1e-3));
    }
  }

  @Test
  void whatDoesNotFitIsRefusedBeforehand() throws Exception {
    Path narrow = new RandomCheckpoint().type(TensorType.BF16).write(folder.resolve("narrow"));
    Path larger = new RandomCheckpoint().set("vocab_size", 51).write(folder.resolve("larger"));
    Path shorter =
        new RandomCheckpoint().set("max_position_embeddings", 8).write(folder.resolve("shorter"));
    FineTuning training = FineTuning.ofDefaults();
    TokenSequences text = counting(4, 15);
    try (Model model = loader(checkpoint()).load();
        Model stored = MoeModels.load(narrow, Device.cpu());
        Model other = loader(larger).load();
        Model small = loader(shorter).load()) {
      Map<String, float[]> before = weights(model);
      refused("optDataType(FLOAT32)", () -> training.run(stored, text, text));
      refused(
          "a vocabulary of 51 tokens, the model one of 50",
          () -> training.run(model, other, text, text));
      refused("the teacher takes 8", () -> training.run(model, small, text, text));
      refused("its own teacher", () -> training.run(model, model, text, text));
      TokenSequences single = TokenSequences.of(new long[][] {{1}});
      refused("use at least 2 for training", () -> training.run(model, single, text));
      refused("use at least 2 for validation", () -> training.run(model, text, single));
      TokenSequences foreign = TokenSequences.of(new long[][] {{1, 50}});
      refused("ids up to 50", () -> training.run(model, foreign, text));
      apply(model, random(1), 2);
      refused("call undoMerge()", () -> training.run(model, text, text));
      assertThat(weights(model)).usingRecursiveComparison().isEqualTo(before);
    }
    Path unsupported = Fixtures.golden("deepseek_v3");
    try (Model model = loader(unsupported).load()) {
      TokenSequences ids = TokenSequences.of(new long[][] {{1, 2, 3}});
      refused("are not trained here", () -> training.run(model, ids, ids));
    }
    FineTuning.Builder builder = FineTuning.builder();
    refused("number of steps is 0", () -> builder.optSteps(0));
    refused("batch size is 0", () -> builder.optBatchSize(0));
    refused("batches per step is 0", () -> builder.optAccumulation(0));
    refused("validation interval is 0", () -> builder.optValidationInterval(0));
    refused("learning rate is 0.0", () -> builder.optLearningRate(0));
    refused("learning rate is NaN", () -> builder.optLearningRate(Double.NaN));
    refused("warm-up is -1", () -> builder.optWarmUp(-1));
    refused("clip gradients by is -1.0", () -> builder.optClip(-1));
    refused("weight decay is Infinity", () -> builder.optWeightDecay(1 / 0.0));
    refused("distillation is 1.5", () -> builder.optDistillation(1.5, 1));
    refused("temperature is 0.0", () -> builder.optDistillation(1, 0));
    refused(
        "warm-up of 5 steps leaves none of 5",
        () -> FineTuning.builder().optSteps(5).optWarmUp(5).build());
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void trainingManyTimesStaysFlat() throws Exception {
    Path large =
        new RandomCheckpoint()
            .set("hidden_size", 128)
            .set("intermediate_size", 512)
            .write(folder.resolve("large"));
    try (Model model = loader(large).load();
        Model teacher = loader(large).load()) {
      int[] count = {0};
      // A run's averages and best weights have 20 MB: left behind, 400 MB or more.
      ResidentMemory.assertFlat(
          "fine-tune",
          40,
          96L << 20,
          () -> {
            int i = count[0]++;
            return FineTuning.builder()
                .optSteps(2)
                .optWarmUp(0)
                .optLearningRate(1e-4)
                .build()
                .run(model, teacher, counting(8, i), counting(4, i));
          });
    }
  }
}
