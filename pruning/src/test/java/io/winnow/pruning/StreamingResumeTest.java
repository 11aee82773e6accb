package io.winnow.pruning;

import static io.winnow.pruning.StreamingPruningTest.assertSameFiles;
import static io.winnow.pruning.StreamingPruningTest.randomTokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.util.Progress;
import com.google.common.io.MoreFiles;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.file.JsonFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Streaming pruning that ends early, and goes on. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class StreamingResumeTest {
  private static final Path SOURCE = Fixtures.TINY_MIXTRAL;
  private static final Calibration CALIBRATION = randomTokens(8, 32);

  @TempDir private static Path undisturbedFolder;
  private static Path undisturbed;
  private static PruningReport expected;

  @TempDir private Path folder;
  private final List<String> reads = Collections.synchronizedList(new ArrayList<>());

  @BeforeEach
  void pruneUndisturbed() {
    if (undisturbed == null) {
      undisturbed = undisturbedFolder.resolve("undisturbed");
      expected = builder(tensor -> {}).build().pruneCheckpoint(SOURCE, CALIBRATION, 5, undisturbed);
    }
  }

  private static ExpertPruner.Builder builder(Consumer<String> listener) {
    return ExpertPruner.builder().optBatchTokens(64).optTensorListener(listener);
  }

  private Path target() {
    return folder.resolve("pruned");
  }

  private Path partial() {
    return folder.resolve(".pruned.partial-prune");
  }

  private PruningReport prune(Consumer<String> listener) {
    return builder(listener).build().pruneCheckpoint(SOURCE, CALIBRATION, 5, target());
  }

  /** Runs an action when layer 2 is opened. */
  private static Consumer<String> inLayer2(Runnable action) {
    return tensor -> {
      if (tensor.equals("model.layers.2.block_sparse_moe.gate.weight")) {
        action.run();
      }
    };
  }

  private static Runnable failing() {
    return () -> {
      throw new IllegalStateException("Failure in layer 2");
    };
  }

  private void assertGoesOnFromLayer2() throws IOException {
    PruningReport report = prune(reads::add);
    assertThat(reads).as("tensors").isNotEmpty().doesNotHaveDuplicates();
    assertThat(reads).allMatch(name -> name.matches("model\\.layers\\.[23]\\..*"));
    assertComplete();
    assertThat(report.plan()).isEqualTo(expected.plan());
    for (int i = 0; i < 4; i++) {
      assertThat(report.layers().get(i).losses()).isEqualTo(expected.layers().get(i).losses());
      assertThat(report.layers().get(i).relativeLoss())
          .isEqualTo(expected.layers().get(i).relativeLoss());
    }
  }

  private void assertComplete() throws IOException {
    assertSameFiles(target(), undisturbed);
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files).containsExactly(target());
    }
  }

  private int nextLayer() {
    Path state = partial().resolve("state.json");
    return Files.exists(state)
        ? JsonFiles.read(state, "the state").get("next_layer").getAsInt()
        : 0;
  }

  @Test
  void aRunThatIsKilledGoesOnAndEndsWithTheSameBytes() throws Exception {
    Random random = new Random(3);
    for (int until : new int[] {1, 3}) {
      Process process = StreamingProcess.start(SOURCE, target());
      while (process.isAlive() && nextLayer() < until) {
        Thread.sleep(1);
      }
      Thread.sleep(random.nextInt(60));
      process.destroyForcibly().waitFor(); // SIGKILL
      assertThat(target()).doesNotExist();
      assertThat(nextLayer()).isGreaterThanOrEqualTo(until);
    }
    assertThat(StreamingProcess.start(SOURCE, target()).waitFor()).isZero();
    assertComplete();
  }

  @Test
  void aRunThatFailsGoesOnFromTheLastCompleteLayer() throws IOException {
    assertThatThrownBy(() -> prune(inLayer2(failing()))).hasMessage("Failure in layer 2");
    assertThat(target()).doesNotExist();
    assertGoesOnFromLayer2();
  }

  @Test
  void anInterruptKeepsWhatIsDone() throws IOException {
    assertThatThrownBy(() -> prune(inLayer2(Thread.currentThread()::interrupt)))
        .isInstanceOf(CancellationException.class);
    assertThat(Thread.interrupted()).isTrue();
    assertThat(target()).doesNotExist();
    assertGoesOnFromLayer2();
  }

  @Test
  void anotherCommandIsRefusedAndNothingIsLost() throws IOException {
    assertThatThrownBy(() -> prune(inLayer2(failing()))).hasMessage("Failure in layer 2");
    assertThatThrownBy(
            () ->
                builder(reads::add)
                    .optSeed(7)
                    .optMethod(PruningMethod.frequency())
                    .build()
                    .pruneCheckpoint(SOURCE, CALIBRATION, 4, target()))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("retained is 5 there and 4 here")
        .hasMessageContaining("seed is 0 there and 7 here")
        .hasMessageContaining("method is \"reconstruction\" there and \"frequency\" here")
        .hasMessageContaining("remove the folder");
    assertThatThrownBy(
            () ->
                builder(reads::add)
                    .build()
                    .pruneCheckpoint(SOURCE, randomTokens(8, 31), 5, target()))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("calibration is");
    assertThatThrownBy(
            () ->
                builder(reads::add)
                    .build()
                    .pruneCheckpoint(Fixtures.golden("mixtral"), CALIBRATION, 5, target()))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("source is");
    assertThat(reads).isEmpty();
    assertGoesOnFromLayer2();
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void aFullDiskIsSaidAndTheRunGoesOnWhenThereIsSpace() throws IOException {
    Path shard = partial().resolve("checkpoint/model.safetensors");
    Path aside = folder.resolve("aside");
    Runnable fill =
        () -> {
          try {
            Files.move(shard, aside);
            Files.createSymbolicLink(shard, Path.of("/dev/full"));
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        };
    assertThatThrownBy(() -> prune(inLayer2(fill)))
        .isInstanceOf(UncheckedIOException.class)
        .hasMessageContaining(shard.toString())
        .hasMessageContaining("No space left on device");
    assertThat(nextLayer()).isEqualTo(2);
    Files.delete(shard);
    Files.move(aside, shard);
    assertGoesOnFromLayer2();
  }

  @Test
  void aRunThatIsKilledBetweenRenamingAndRemovingItsFolderIsFinished() throws IOException {
    Progress interruptsAtTheEnd =
        new Progress() {
          @Override
          public void reset(String message, long max, String trailingMessage) {}

          @Override
          public void start(long initialProgress) {}

          @Override
          public void end() {
            Thread.currentThread().interrupt();
          }

          @Override
          public void increment(long increment) {}

          @Override
          public void update(long progress, String message) {}
        };
    assertThatThrownBy(
            () ->
                builder(reads::add)
                    .optProgress(interruptsAtTheEnd)
                    .build()
                    .pruneCheckpoint(SOURCE, CALIBRATION, 5, target()))
        .isInstanceOf(CancellationException.class);
    assertThat(Thread.interrupted()).isTrue();
    byte[] state = Files.readAllBytes(partial().resolve("state.json"));
    reads.clear();
    prune(reads::add);
    assertThat(reads).isEmpty();
    assertComplete();
    Files.createDirectory(partial());
    Files.write(partial().resolve("state.json"), state);
    assertThat(prune(reads::add).plan()).isEqualTo(expected.plan());
    assertComplete();
    assertThatThrownBy(() -> prune(reads::add))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("exists already");
  }

  @Test
  void whatIsDamagedIsRefused() throws IOException {
    assertThatThrownBy(() -> prune(inLayer2(failing()))).hasMessage("Failure in layer 2");
    Path hidden = partial().resolve("hidden-2.f32");
    byte[] states = Files.readAllBytes(hidden);
    Files.write(hidden, new byte[3]);
    assertThatThrownBy(() -> prune(reads::add))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("hidden-2.f32 is missing or does not have 131072 bytes")
        .hasMessageContaining("remove " + partial());
    Files.write(hidden, states);
    Path state = partial().resolve("state.json");
    String text = Files.readString(state);
    Files.writeString(state, text.replace("\"next_layer\": 2", "\"next_layer\": \"two\""));
    assertThatThrownBy(() -> prune(reads::add))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("state.json is damaged ('next_layer' is \"two\"");
    Files.writeString(state, text);
    assertGoesOnFromLayer2();
  }

  @Test
  void theStateSaysItsKindAndOneOfVersion010WithoutItGoesOn() throws IOException {
    assertThatThrownBy(() -> prune(inLayer2(failing()))).hasMessage("Failure in layer 2");
    Path state = partial().resolve("state.json");
    String text = Files.readString(state);
    String kind = "  \"kind\": \"winnow-streaming-state\",\n";
    assertThat(text).contains(kind);
    Files.writeString(state, text.replace("winnow-streaming-state", "winnow-pruning-plan"));
    assertThatThrownBy(() -> prune(reads::add))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("state.json is a pruning plan (kind winnow-pruning-plan), not the")
        .hasMessageContaining("remove the folder");
    Files.writeString(state, text.replace(kind, ""));
    assertGoesOnFromLayer2();
  }

  @Test
  void twoRunsForOneTargetAreRefused() throws IOException {
    Files.createDirectory(partial());
    try (FileChannel lock =
        FileChannel.open(
            partial().resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
      lock.lock();
      assertThatThrownBy(() -> prune(reads::add))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("Another run is writing " + target());
    }
    assertThat(reads).isEmpty();
    MoreFiles.deleteRecursively(partial());
  }
}
