package io.winnow.core.internal.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.util.Progress;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.Segment.FileSegment;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.internal.safetensors.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.LongConsumer;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** What is not written, and that nothing stays of it. */
class CheckpointWriterErrorsTest extends WritesCheckpoints {
  private void assertRefused(CheckpointWriter.Builder builder, String... expected) {
    List<String> before = TestFiles.below(folder);
    assertThatThrownBy(builder::write)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(expected);
    assertThat(TestFiles.below(folder)).isEqualTo(before);
  }

  @Test
  void refusesATargetThatExists() throws IOException {
    Files.createDirectory(target);

    assertRefused(
        copyOf(smallSource()), target + " exists already", "choose another target", "remove it");
    assertRefused(copyOf(smallSource()).setTarget(folder.resolve("source")), "exists already");

    Files.delete(target);
    Files.createSymbolicLink(target, folder.resolve("nowhere"));
    assertRefused(copyOf(smallSource()), "exists already");
  }

  @Test
  void refusesATargetInAFolderThatDoesNotExist() {
    assertRefused(
        copyOf(smallSource()).setTarget(folder.resolve("absent").resolve("target")),
        folder.resolve("absent").toString(),
        "does not exist",
        "create it");
    TestFiles.write(folder.resolve("file"), "");
    assertRefused(
        copyOf(smallSource()).setTarget(folder.resolve("file").resolve("target")),
        "does not exist");
  }

  @Test
  void refusesATargetThatCannotBeWritten() throws IOException {
    Path locked = Files.createDirectory(folder.resolve("locked"));
    Assumptions.assumeTrue(
        Files.getFileStore(locked).supportsFileAttributeView("posix"), "permissions of POSIX");
    Files.setPosixFilePermissions(locked, PosixFilePermissions.fromString("r-xr-xr-x"));
    Assumptions.assumeFalse(Files.isWritable(locked), "the superuser may write everywhere");

    assertRefused(
        copyOf(smallSource()).setTarget(locked.resolve("target")),
        locked.toString(),
        "Cannot write",
        "choose another target");
  }

  @Test
  void refusesATargetWhereTheSystemCreatesNoFolders() {
    Path processes = Path.of("/proc");
    Assumptions.assumeTrue(Files.isDirectory(processes), "a file system that cannot be written");

    assertRefused(
        copyOf(smallSource())
            .setTarget(processes.resolve("winnow-target"))
            .usableSpace(f -> 1 << 20),
        "Cannot write to /proc",
        "choose another target");
  }

  @Test
  void refusesATargetInsideTheSource() throws IOException {
    Checkpoint source = smallSource();
    Files.createDirectory(source.folder().resolve("sub"));
    Files.createSymbolicLink(folder.resolve("link"), source.folder());

    for (String path : List.of("source/target", "source/sub/target", "link/target")) {
      assertRefused(
          copyOf(source).setTarget(folder.resolve(path)), path, "inside the source", "outside");
    }
  }

  @Test
  void refusesATargetWithoutEnoughSpace() {
    assertRefused(
        copyOf(Checkpoint.open(TestFiles.TINY_MIXTRAL)).usableSpace(parent -> 7_000_000),
        target.toString(),
        "needs 7290034 bytes",
        "only 7000000",
        "free some space");
  }

  @Test
  void refusesTwoTensorsOfTheSameNameEvenInDifferentFiles() {
    Checkpoint source = smallSource();
    OutputTensor tensor = OutputTensor.copyOf(source.tensor("a"));

    assertRefused(
        copyOf(source).setTensors(List.of(tensor, tensor)).optMaxShardBytes(1), "'a'", "rename");
  }

  @Test
  void refusesIncompleteDescriptions() {
    Checkpoint source = smallSource();

    assertRefused(CheckpointWriter.builder(source), "setTarget");
    assertRefused(CheckpointWriter.builder(source).setTarget(target), "setConfig");
    assertRefused(
        CheckpointWriter.builder(source).setTarget(target).setConfig(new JsonObject()),
        "setTensors");
    assertRefused(copyOf(source).setTensors(List.of()), "without tensors");
    assertThatThrownBy(() -> copyOf(source).optMaxShardBytes(0))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("0 bytes", "at least 1");
  }

  @Test
  void refusesANumberThatJsonDoesNotKnow() {
    JsonObject config = new JsonObject();
    config.addProperty("x", Double.NaN);

    assertRefused(copyOf(smallSource()).setConfig(config), "JSON", "NaN");
  }

  @Test
  void refusesASourceWithALinkToNowhere() throws IOException {
    Checkpoint source = smallSource();
    Files.createSymbolicLink(source.folder().resolve("tokenizer.json"), Path.of("gone"));

    assertRefused(copyOf(source), "tokenizer.json", "link", "download the file again");
  }

  @Test
  void leavesNothingBehindWhenASourceChangesMeanwhile() {
    Checkpoint source = smallSource();
    OutputTensor tensor =
        new OutputTensor(
            "b",
            TensorType.U8,
            List.of(1000L),
            List.of(new FileSegment(source.files().get(0), 0, 1000)));

    assertRefused(
        copyOf(source).setTensors(List.of(OutputTensor.copyOf(source.tensor("a")), tensor)),
        "model.safetensors ends at",
        "start again");
  }

  @Test
  void leavesNothingBehindWhenTheListenerFails() {
    List<String> whileWriting = new ArrayList<>();

    assertThatThrownBy(
            () ->
                writeTelling(
                    bytes -> {
                      whileWriting.addAll(TestFiles.below(folder));
                      throw new IllegalStateException("the listener's own");
                    }))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the listener's own");
    assertThat(whileWriting).first().asString().startsWith(".target.partial-");
    assertThat(TestFiles.below(folder)).isEmpty();
  }

  @Test
  void leavesNothingBehindWhenInterrupted() {
    for (int files = 0; files < 6; files++) {
      int interruptedAfter = files;
      int[] count = new int[1];
      if (files == 0) {
        Thread.currentThread().interrupt();
      }
      assertThatThrownBy(
              () ->
                  writeTelling(
                      bytes -> {
                        if (++count[0] == interruptedAfter) {
                          Thread.currentThread().interrupt();
                        }
                      }))
          .as("after %d steps", files)
          .isInstanceOf(CancellationException.class)
          .hasMessageContaining("Interrupted");
      assertThat(Thread.interrupted()).as("the status is kept").isTrue();
      assertThat(TestFiles.below(folder)).isEmpty();
    }
  }

  private void writeTelling(LongConsumer increments) {
    copyOf(Checkpoint.open(TestFiles.TINY_MIXTRAL))
        .optProgress(new IncrementListener(increments))
        .write();
  }

  private record IncrementListener(LongConsumer increments) implements Progress {
    @Override
    public void increment(long bytes) {
      increments.accept(bytes);
    }

    @Override
    public void reset(String message, long max, String trailing) {}

    @Override
    public void start(long initial) {}

    @Override
    public void end() {}

    @Override
    public void update(long bytes, String message) {}
  }
}
