package io.winnow.pruning;

import java.io.IOException;
import java.nio.file.Path;

/** Streaming pruning in a process of its own, for tests that kill it. */
final class StreamingProcess {
  /** Makes a layer of eight experts last a tenth of a second. */
  private static final long PAUSE_MILLIS = 4;

  private StreamingProcess() {}

  static Process start(Path source, Path target) throws IOException {
    return JavaProcess.start(StreamingProcess.class, false, source, target);
  }

  public static void main(String[] args) {
    ExpertPruner.builder()
        .optBatchTokens(64)
        .optTensorListener(
            tensor -> {
              try {
                Thread.sleep(PAUSE_MILLIS);
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
            })
        .build()
        .pruneCheckpoint(
            Path.of(args[0]), StreamingPruningTest.randomTokens(8, 32), 5, Path.of(args[1]));
  }
}
