package io.winnow.core.internal.checkpoint;

import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.TestFiles;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;

/** Tests that write a checkpoint into a folder of their own. */
abstract class WritesCheckpoints {
  @TempDir Path folder;
  Path target;

  @BeforeEach
  void setTarget() {
    target = folder.resolve("target");
  }

  static List<OutputTensor> copies(Checkpoint source) {
    return source.tensors().values().stream().map(OutputTensor::copyOf).toList();
  }

  /** Describes the same checkpoint in {@link #target}. */
  CheckpointWriter.Builder copyOf(Checkpoint source) {
    return CheckpointWriter.builder(source)
        .setTarget(target)
        .setConfig(source.config().json())
        .setTensors(copies(source));
  }

  Checkpoint smallSource() {
    return Checkpoint.open(TestFiles.checkpoint(folder.resolve("source")));
  }
}
