package io.winnow.examples.cli.prune;

import ai.djl.Device;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.examples.files.ProcFile;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.Numbers;
import io.winnow.pruning.StreamingEstimate;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The options of pruning a checkpoint on disk. */
final class StreamOptions {
  private static final Path MEMORY = Path.of("/proc/meminfo");

  @Option(
      names = "--stream",
      description =
          "prune layer by layer with one layer in memory, in float32; chosen by itself where the"
              + " model in float32 does not fit into memory. Repeating a command that was killed"
              + " goes on from the last complete layer")
  private boolean stream;

  @Option(
      names = "--dry-run",
      description = "say what time, memory and disk --stream will take, and change nothing")
  private boolean dryRun;

  @Option(
      names = "--memory",
      paramLabel = "MIB",
      defaultValue = "1024",
      description =
          "with --stream: for hidden states and experts' outputs; what is more goes to the disk"
              + " (default: ${DEFAULT-VALUE})")
  private long memory;

  @Option(
      names = "--devices",
      split = ",",
      paramLabel = "DEVICE",
      description = "with --stream: spread the tokens over these (default: that of --device)")
  private String @Nullable [] devices;

  boolean isDryRun() {
    return dryRun;
  }

  long memoryBytes() {
    Numbers.requirePositive("--memory", memory);
    return memory << 20;
  }

  Device[] devices(ModelOptions model) {
    return devices == null
        ? new Device[] {model.device()}
        : Arrays.stream(devices)
            .map(name -> ModelOptions.device("--devices", name))
            .toArray(Device[]::new);
  }

  /**
   * Decides whether to prune on disk.
   *
   * @param progressive which only a loaded model can be pruned by
   */
  boolean isWanted(ModelOptions model, boolean progressive) {
    if (stream || dryRun) {
      if (!model.isFloat32()) {
        throw new InvalidInputException(
            "--stream computes in float32; leave out --dtype, whatever type is stored");
      }
      return true;
    }
    if (progressive || !model.isFloat32() || fits(model.folder(), availableBytes())) {
      return false;
    }
    System.err.println("The model does not fit into memory: pruning it layer by layer");
    return true;
  }

  /** Returns whether a model's weights take at most so many bytes in float32. */
  static boolean fits(Path folder, long available) {
    long elements =
        Checkpoint.open(folder).tensors().values().stream()
            .mapToLong(tensor -> tensor.elements())
            .sum();
    return Float.BYTES * elements <= available;
  }

  /** Returns the memory that is not in use, or no limit where the system does not tell. */
  private static long availableBytes() {
    return ProcFile.bytes(MEMORY, "MemAvailable:").orElse(Long.MAX_VALUE);
  }

  /** Returns an estimate as text. */
  static String table(StreamingEstimate estimate) {
    Duration time = estimate.time();
    return String.format(
        Locale.ROOT,
        "time       %s to compute (extrapolated from what a few hundred tokens took just now),"
            + " besides the disk's%n"
            + "memory     %d MiB beside Java and PyTorch; and for files, what is free of %d MiB (a"
            + " layer) or twice that%n"
            + "disk       %d MB for the result, and until the end %d MB for hidden states%n"
            + "Nothing was changed.%n",
        time.toMinutes() < 2 ? time.toSeconds() + " s" : time.toMinutes() + " min",
        estimate.memoryBytes() >> 20,
        estimate.layerBytes() >> 20,
        estimate.outputBytes() / 1_000_000,
        estimate.temporaryBytes() / 1_000_000);
  }
}
