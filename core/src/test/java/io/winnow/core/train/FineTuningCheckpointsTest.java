package io.winnow.core.train;

import static io.winnow.core.Refusal.refused;
import static io.winnow.core.internal.decoder.MergedLayersTest.loader;
import static io.winnow.core.internal.decoder.MergedLayersTest.logits;
import static io.winnow.core.train.TrainingFixtures.brief;
import static io.winnow.core.train.TrainingFixtures.counting;
import static io.winnow.core.train.TrainingFixtures.files;
import static io.winnow.core.train.TrainingFixtures.weights;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Model;
import ai.djl.TrainingDivergedException;
import ai.djl.util.Progress;
import io.winnow.core.MoeModel;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.TokenSequences;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Trainings that go on where they were stopped. */
class FineTuningCheckpointsTest {
  @TempDir private Path folder;

  private Path checkpoint() throws IOException {
    return new RandomCheckpoint().write(folder.resolve("model"));
  }

  /** Interrupts after so many steps. */
  private static Progress interruptAfter(int steps) {
    return new Progress() {
      @Override
      public void reset(String message, long max, String trailingMessage) {}

      @Override
      public void start(long initialProgress) {}

      @Override
      public void end() {}

      @Override
      public void increment(long increment) {}

      @Override
      public void update(long progress, String message) {
        if (progress == steps) {
          Thread.currentThread().interrupt();
        }
      }
    };
  }

  @ParameterizedTest(name = "after {0} of 6 steps")
  @ValueSource(ints = {1, 2, 3, 5})
  void whatWasInterruptedGoesOnToTheSameWeights(int steps) throws Exception {
    Path checkpoint = checkpoint();
    Path state = folder.resolve("state");
    TokenSequences text = counting(9, 7);
    FineTuning.Result expected;
    Map<String, float[]> weights;
    try (Model model = loader(checkpoint).load()) {
      expected = brief().build().run(model, text, counting(5, 8));
      weights = weights(model);
    }
    try (Model model = loader(checkpoint).load()) {
      FineTuning stopped = brief().optCheckpoints(state).optProgress(interruptAfter(steps)).build();
      assertThatThrownBy(() -> stopped.run(model, text, counting(5, 8)))
          .isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
    }
    // What a process leaves that is killed while it writes.
    Files.writeString(state.resolve(".state-6.safetensors.partial-0"), "half");
    Files.writeString(state.resolve(".training.json.partial-0"), "half");
    for (int again = 0; again < 2; again++) { // Once to the end, and once from there.
      try (Model model = loader(checkpoint).load()) {
        FineTuning.Result result =
            brief().optCheckpoints(state).build().run(model, text, counting(5, 8));
        assertThat(result).isEqualTo(expected);
        assertThat(weights(model)).usingRecursiveComparison().isEqualTo(weights);
        Path target = folder.resolve("saved" + again);
        MoeModels.save(model, target);
        assertThat(
                Files.mismatch(
                    target.resolve("model.safetensors"),
                    folder.resolve("saved0/model.safetensors")))
            .isEqualTo(-1);
      }
    }
    assertThat(files(state))
        .containsExactly(
            "best-" + expected.step() + ".safetensors", "state-6.safetensors", "training.json");
  }

  @Test
  void aTimeLimitEndsItAndTheNextRunGoesOnAsIfThereHadBeenNone() throws Exception {
    Path checkpoint = checkpoint();
    TokenSequences text = counting(9, 9);
    FineTuning.Result expected;
    try (Model model = loader(checkpoint).load()) {
      expected = brief().build().run(model, text, text);
    }
    Path state = folder.resolve("state");
    try (Model model = loader(checkpoint).load()) {
      FineTuning.Result nothing =
          brief().optTimeLimit(Duration.ZERO).optCheckpoints(state).build().run(model, text, text);
      assertThat(nothing.steps()).isZero();
      assertThat(nothing.history()).hasSize(1);
    }
    // However little time there is, a run takes a step.
    FineTuning.Result result;
    do {
      try (Model model = loader(checkpoint).load()) {
        result =
            brief()
                .optTimeLimit(Duration.ofMillis(1))
                .optCheckpoints(state)
                .build()
                .run(model, text, text);
      }
    } while (result.steps() < 6);
    assertThat(result).isEqualTo(expected);
  }

  @Test
  void checkpointsOfAnotherTrainingAreRefused() throws Exception {
    Path checkpoint = checkpoint();
    Path state = folder.resolve("state");
    TokenSequences text = counting(9, 10);
    try (Model model = loader(checkpoint).load()) {
      brief().optCheckpoints(state).build().run(model, text, text);
      List<String> before = files(state);
      float[] logits = logits(model);
      refused(
          "seed is 0 there and 1 here",
          () -> brief().optSeed(1).optCheckpoints(state).build().run(model, text, text));
      refused(
          "training is",
          () -> brief().optCheckpoints(state).build().run(model, counting(9, 11), text));
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 1, 2));
      refused("retained is", () -> brief().optCheckpoints(state).build().run(model, text, text));
      assertThat(files(state)).isEqualTo(before);
      assertThat(logits).hasSize(1000);
    }
    Files.delete(state.resolve("training.json"));
    try (Model model = loader(checkpoint).load()) {
      refused(
          "have no training.json",
          () -> brief().optCheckpoints(state).build().run(model, text, text));
      Path file = Files.writeString(folder.resolve("file"), "");
      refused(
          "Cannot write checkpoints to",
          () -> brief().optCheckpoints(file).build().run(model, text, text));
    }
  }

  @Test
  void aTrainingIsDescribedByAFileThatSaysWhatItIs() throws Exception {
    Path checkpoint = checkpoint();
    Path state = folder.resolve("state");
    Path description = state.resolve("training.json");
    TokenSequences text = counting(9, 10);
    FineTuning training = brief().optCheckpoints(state).build();
    FineTuning.Result expected;
    try (Model model = loader(checkpoint).load()) {
      expected = training.run(model, text, text);
    }
    String written = Files.readString(description);
    assertThat(written).startsWith("{\n  \"kind\": \"winnow-training\",\n");
    try (Model model = loader(checkpoint).load()) {
      // As 0.1.0 wrote it.
      Files.writeString(description, written.replace("\"kind\": \"winnow-training\",", ""));
      assertThat(training.run(model, text, text)).isEqualTo(expected);
      Files.writeString(description, written.replace("winnow-training", "winnow-skip-policy"));
      refused(
          "is a skip policy (kind winnow-skip-policy), not the description of a training",
          () -> training.run(model, text, text));
    }
  }

  @Test
  void aDamagedCheckpointIsNamed() throws Exception {
    Path checkpoint = checkpoint();
    Path state = folder.resolve("state");
    TokenSequences text = counting(9, 12);
    try (Model model = loader(checkpoint).load()) {
      brief().optCheckpoints(state).build().run(model, text, text);
    }
    Path file = state.resolve("state-6.safetensors");
    Files.write(file, Arrays.copyOf(Files.readAllBytes(file), 5000));
    try (Model model = loader(checkpoint).load()) {
      refused(
          "state-6.safetensors",
          () -> brief().optCheckpoints(state).build().run(model, text, text));
    }
  }

  @Test
  void aLossThatIsNoNumberEndsItAndKeepsTheCheckpointsBefore() throws Exception {
    Path state = folder.resolve("state");
    TokenSequences text = counting(9, 13);
    try (Model model = loader(checkpoint()).load()) {
      FineTuning wild =
          FineTuning.builder()
              .optSteps(50)
              .optLearningRate(1e30)
              .optWarmUp(0)
              .optCheckpoints(state)
              .build();
      assertThatThrownBy(() -> wild.run(model, text, text))
          .isInstanceOf(TrainingDivergedException.class)
          .hasMessageContaining("the learning rate 1.0E30 is too high")
          .hasMessageContaining("in step 2");
    }
    assertThat(files(state)).containsExactly("training.json");
  }
}
