package io.winnow.examples.bench.pruning;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.core.Linear;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import com.google.common.io.MoreFiles;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.examples.bench.measure.AnonymousMemory;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.Timing;
import io.winnow.examples.console.ReportTable;
import io.winnow.examples.files.ProcFile;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Pruning a checkpoint on disk layer by layer: time, anonymous memory, and how often each tensor is
 * read; beside the time that the matrix products of all experts take alone, and that of reading the
 * files alone.
 */
final class StreamingBenchmark {
  private static final int FLOOR_TOKENS = 2048;
  private static final int FLOOR_RUNS = 3;
  private static final Path IO = Path.of("/proc/self/io");

  private final Path model;
  private final int retain;
  private final int sequences;
  private final int length;
  private final long memoryBytes;
  private final Path out;

  /**
   * Creates a benchmark.
   *
   * @param out a folder that does not exist; it is removed in the end
   */
  StreamingBenchmark(
      Path model, int retain, int sequences, int length, long memoryBytes, Path out) {
    if (sequences < 1 || length < 1) {
      throw new InvalidInputException("--sequences and --length must be at least 1");
    }
    this.model = model;
    this.retain = retain;
    this.sequences = sequences;
    this.length = length;
    this.memoryBytes = memoryBytes;
    this.out = out;
  }

  Result run(Progress progress) throws IOException {
    Checkpoint checkpoint = Checkpoint.open(model);
    CheckpointConfig config = checkpoint.config();
    Calibration calibration = randomTokens(config.requirePositiveInt("vocab_size"));
    Map<String, Integer> reads = new ConcurrentHashMap<>();
    ExecutorService executor = Executors.newSingleThreadExecutor();
    Stopwatch time = Stopwatch.createStarted();
    long disk = diskReads();
    PruningReport report;
    OptionalLong peak;
    try (AnonymousMemory memory = AnonymousMemory.start()) {
      report =
          ExpertPruner.builder()
              .optMemory(memoryBytes)
              .optExecutor(executor)
              .optTensorListener(tensor -> reads.merge(tensor, 1, Integer::sum))
              .optProgress(progress)
              .build()
              .pruneCheckpoint(model, calibration, retain, out);
      peak = memory.peak();
    } finally {
      executor.shutdownNow();
    }
    double seconds = Timing.seconds(time);
    disk = diskReads() - disk;
    long written = Checkpoint.open(out).bytes();
    MoreFiles.deleteRecursively(out);
    time.reset().start();
    Checkpoint.readAhead(checkpoint.tensors().values());
    double reading = Timing.seconds(time);
    return new Result(
        checkpoint.bytes(),
        written,
        report,
        seconds,
        peak,
        disk,
        reads.size(),
        reads.values().stream().mapToInt(Integer::intValue).max().orElse(0),
        products(config),
        reading);
  }

  private Calibration randomTokens(int vocabulary) {
    Random random = new Random(7);
    long[][] ids = new long[sequences][length];
    for (long[] row : ids) {
      for (int i = 0; i < length; i++) {
        row[i] = random.nextInt(vocabulary);
      }
    }
    return Calibration.ofTokens(ids);
  }

  /** Returns the seconds that the products of all experts take alone, extrapolated from one. */
  private double products(CheckpointConfig config) {
    int hidden = config.requirePositiveInt("hidden_size");
    int inner = config.requirePositiveInt("intermediate_size");
    double best = Double.MAX_VALUE;
    try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
      NDArray input = manager.randomNormal(new Shape(FLOOR_TOKENS, hidden));
      NDArray up = manager.randomNormal(new Shape(inner, hidden));
      NDArray inside = manager.randomNormal(new Shape(FLOOR_TOKENS, inner));
      NDArray down = manager.randomNormal(new Shape(hidden, inner));
      for (int i = 0; i < FLOOR_RUNS; i++) {
        Stopwatch time = Stopwatch.createStarted();
        Linear.linear(input, up).close();
        Linear.linear(input, up).close();
        Linear.linear(inside, down).close();
        best = Math.min(best, Timing.seconds(time));
      }
    }
    double tokens = (double) sequences * length;
    return best
        * (tokens / FLOOR_TOKENS)
        * config.requirePositiveInt("num_local_experts")
        * config.requirePositiveInt("num_hidden_layers");
  }

  /** Returns the bytes that this process has had read from disks, or 0 where that is not known. */
  private static long diskReads() {
    return ProcFile.number(IO, "read_bytes:").orElse(0);
  }

  /**
   * What was measured.
   *
   * @param bytes of the source's tensors
   * @param written bytes of the result's tensors
   * @param diskBytes read from the disk meanwhile; the rest was in the page cache
   * @param tensors that were read to compute with
   * @param reads how often at most one of them was
   * @param products seconds of the experts' matrix products alone
   * @param reading seconds of reading the source's files alone, afterwards
   */
  record Result(
      long bytes,
      long written,
      PruningReport report,
      double seconds,
      OptionalLong peak,
      long diskBytes,
      int tensors,
      int reads,
      double products,
      double reading)
      implements BenchmarkResult {

    @Override
    public String table() {
      return ReportTable.of(report)
          + String.format(
              Locale.ROOT,
              "%d MB to %d MB; %d tensors, each read at most %d time(s); %d MB came from the disk%n"
                  + "pruning layer by layer         %8.1f s%n"
                  + "matrix products alone          %8.1f s  (%.0f %%)%n"
                  + "reading the files alone        %8.1f s%n"
                  + "peak of anonymous memory       %8s%n",
              bytes / 1_000_000,
              written / 1_000_000,
              tensors,
              reads,
              diskBytes / 1_000_000,
              seconds,
              products,
              100 * products / seconds,
              reading,
              peak.isPresent() ? (peak.getAsLong() >> 20) + " MiB" : "unknown");
    }

    @Override
    public JsonObject toJson() {
      JsonObject json = new JsonObject();
      json.addProperty("bytes", bytes);
      json.addProperty("bytes_written", written);
      json.addProperty("seconds", seconds);
      json.addProperty("matrix_products_seconds", products);
      json.addProperty("reading_seconds", reading);
      json.addProperty("peak_anonymous_bytes", peak.isPresent() ? peak.getAsLong() : null);
      json.addProperty("disk_bytes_read", diskBytes);
      json.addProperty("tensors", tensors);
      json.addProperty("most_reads_of_a_tensor", reads);
      json.add("report", JsonParser.parseString(report.toJson()));
      return json;
    }
  }
}
