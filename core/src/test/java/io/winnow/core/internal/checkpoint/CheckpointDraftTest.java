package io.winnow.core.internal.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonObject;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Checkpoints written tensor by tensor, against those written at once. */
class CheckpointDraftTest {
  private static final int TENSORS = 24;

  @TempDir private Path folder;
  private Checkpoint source;
  private Path draftFolder;

  @BeforeEach
  void writeSource() throws IOException {
    Path path = Files.createDirectory(folder.resolve("source"));
    draftFolder = folder.resolve("draft");
    Files.writeString(path.resolve("config.json"), "{\"model_type\": \"mixtral\"}");
    Files.writeString(Files.createDirectory(path.resolve("sub")).resolve("tokenizer.txt"), "abc");
    List<OutputTensor> tensors = new ArrayList<>();
    for (int i = 0; i < TENSORS; i++) {
      float[] values = {i, 2 * i, 3 * i};
      tensors.add(OutputTensor.ofFloats(String.format("tensor.%02d", i), List.of(3L), values));
    }
    SafetensorsFile.write(path.resolve("model.safetensors"), tensors, Map.of());
    source = Checkpoint.open(path);
  }

  /** The source's tensors under the names that their numbers are mapped to. */
  private List<OutputTensor> named(int... names) {
    List<OutputTensor> tensors = new ArrayList<>();
    for (int i = 0; i < names.length; i++) {
      TensorInfo info = source.tensor(String.format("tensor.%02d", i));
      tensors.add(OutputTensor.copyOf(info, "expert." + names[i]));
    }
    return tensors;
  }

  private CheckpointWriter.Builder writer(String target, List<OutputTensor> tensors) {
    return CheckpointWriter.builder(source)
        .setTarget(folder.resolve(target))
        .setConfig(new JsonObject())
        .setTensors(tensors);
  }

  private static void assertSameFiles(Path actual, Path expected) throws IOException {
    List<Path> files;
    try (var found = Files.walk(expected)) {
      files = found.filter(Files::isRegularFile).map(expected::relativize).toList();
    }
    for (Path file : files) {
      assertThat(actual.resolve(file)).hasSameBinaryContentAs(expected.resolve(file));
    }
    try (var found = Files.walk(actual)) {
      assertThat(found.filter(Files::isRegularFile)).hasSameSizeAs(files);
    }
  }

  @ParameterizedTest(name = "files of {0} bytes")
  @ValueSource(longs = {40, 100, 1_000_000})
  void aFolderWrittenInAnyOrderAndByAnotherProcessIsThatWrittenAtOnce(long shardBytes)
      throws IOException {
    List<OutputTensor> tensors = named(IntStream.range(0, TENSORS).toArray());
    writer("expected", tensors).optMaxShardBytes(shardBytes).write();
    new CheckpointDraft(draftFolder, shardBytes)
        .write(tensors, tensor -> tensor.name().endsWith("7"));
    CheckpointDraft draft = new CheckpointDraft(draftFolder, shardBytes);
    draft.recall(tensors, tensor -> tensor.name().endsWith("7"));
    draft.write(tensors, tensor -> tensor.name().endsWith("3"));
    Checkpoint written = writer("drafted", tensors).optDraft(draft).write();
    assertThat(written.folder()).isEqualTo(folder.resolve("drafted"));
    assertThat(written.tensors()).hasSize(TENSORS);
    assertSameFiles(folder.resolve("drafted"), folder.resolve("expected"));
    assertThat(draftFolder).doesNotExist();
  }

  @Test
  void whatIsInPlaceIsNotWrittenAgain() throws IOException {
    List<OutputTensor> tensors = named(IntStream.range(0, TENSORS).toArray());
    CheckpointDraft draft = new CheckpointDraft(draftFolder);
    draft.write(tensors, tensor -> true);
    assertThat(draft.placedBytes()).isEqualTo(TENSORS * 12);
    // Were they written again, the lack of the source's bytes would be noticed.
    Files.write(source.files().get(0), new byte[8]);
    assertThat(writer("drafted", tensors).optDraft(draft).write().tensors()).hasSize(TENSORS);
  }

  /**
   * Where experts are stored as 0, 1, 10, 11, 2, ..., their new numbers come in another order than
   * was thought while others were missing, and with them the lengths of two files' headers.
   */
  @ParameterizedTest(name = "files of {0} bytes")
  @ValueSource(longs = {40, 100, 1_000_000})
  void tensorsThatALaterDecisionMovesAreWrittenAnew(long shardBytes) throws IOException {
    int[] thought = IntStream.range(0, TENSORS).toArray();
    int[] decided = IntStream.range(0, TENSORS).map(i -> (i + 7) % TENSORS).toArray();
    writer("expected", named(decided)).optMaxShardBytes(shardBytes).write();
    CheckpointDraft draft = new CheckpointDraft(draftFolder, shardBytes);
    draft.write(named(thought), tensor -> tensor.name().endsWith("2"));
    draft.write(named(decided), tensor -> tensor.name().endsWith("1"));
    Files.writeString(draftFolder.resolve("model-00009-of-00009.safetensors"), "stale");
    writer("drafted", named(decided)).optDraft(draft).write();
    assertSameFiles(folder.resolve("drafted"), folder.resolve("expected"));
  }

  @Test
  void aDraftThatCannotBeFinishedStaysAndIsFinishedLater() throws IOException {
    List<OutputTensor> tensors = named(IntStream.range(0, TENSORS).toArray());
    writer("expected", tensors).write();
    CheckpointDraft draft = new CheckpointDraft(draftFolder);
    draft.write(tensors, tensor -> tensor.name().endsWith("7"));
    Path inTheWay = Files.createDirectories(draftFolder.resolve("model.safetensors.d"));
    Thread.currentThread().interrupt();
    try {
      assertThatThrownBy(() -> writer("drafted", tensors).optDraft(draft).write())
          .isInstanceOf(CancellationException.class);
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
    assertThat(draftFolder).exists();
    writer("drafted", tensors).optDraft(draft).write();
    assertThat(inTheWay).doesNotExist();
    assertSameFiles(folder.resolve("drafted"), folder.resolve("expected"));
  }
}
