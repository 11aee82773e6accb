package io.winnow.examples.bench.pruning;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDManager;
import com.google.common.base.Stopwatch;
import com.google.common.io.MoreFiles;
import com.google.gson.JsonObject;
import io.winnow.core.ExpertMerge;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.PeakMemory;
import io.winnow.examples.bench.measure.Timing;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.Random;
import java.util.stream.LongStream;

/**
 * Preparing an individual of the evolutionary search: merging experts into the running model,
 * against computing, writing and loading a merged folder. Both in pairs, up to the first answer.
 */
final class MergeBenchmark {
  private final Path folder;
  private final int retain;
  private final int repeat;
  private final Path scratch;

  /**
   * Creates a benchmark.
   *
   * @param scratch an existing folder to write merged folders to, which are removed
   */
  MergeBenchmark(Path folder, int retain, int repeat, Path scratch) {
    this.folder = folder;
    this.retain = retain;
    this.repeat = repeat;
    this.scratch = scratch;
  }

  Result run() throws IOException {
    // The engine's own memory is not the model's.
    NDManager.newBaseManager(Device.cpu(), "PyTorch").close();
    PeakMemory memory = PeakMemory.start();
    try (Model model = MoeModels.load(folder, Device.cpu())) {
      List<MergeableMoeLayer> layers = new ArrayList<>();
      MoeModel.of(model).moeLayers().forEach(layer -> layers.add((MergeableMoeLayer) layer));
      Random random = new Random(5);
      // The first merge is not timed; it alone asks the system for the buffers, and reads the
      // model.
      merge(layers, random);
      answer(model);
      OptionalLong peak = memory.growth();
      List<Double> running = new ArrayList<>();
      List<Double> written = new ArrayList<>();
      for (int i = 0; i < repeat; i++) {
        Stopwatch time = Stopwatch.createStarted();
        merge(layers, random);
        running.add(Timing.seconds(time));
        System.err.printf(Locale.ROOT, "into the running model: %.2f s%n", running.get(i));
        Path target = scratch.resolve("merged-" + i);
        time.reset().start();
        // Whoever writes a folder has to compute its weights too.
        merge(layers, random);
        MoeModels.save(model, target);
        try (Model loaded = MoeModels.load(target, Device.cpu())) {
          answer(loaded);
          written.add(Timing.seconds(time));
        } finally {
          MoreFiles.deleteRecursively(target);
        }
        System.err.printf(Locale.ROOT, "written and loaded: %.2f s%n", written.get(i));
      }
      Checkpoint checkpoint = Checkpoint.open(folder);
      Stopwatch time = Stopwatch.createStarted();
      Checkpoint.readAhead(checkpoint.tensors().values());
      double reading = Timing.seconds(time);
      return new Result(this, checkpoint.bytes(), running, written, reading, peak);
    }
  }

  /** A pass of a few tokens, so that the weights that are mapped only are read too. */
  private static void answer(Model model) {
    long[][] tokens = {LongStream.range(0, 64).toArray()};
    MoeModel.of(model).forward(TokenSequences.of(tokens), new ForwardObserver() {});
  }

  private void merge(List<MergeableMoeLayer> layers, Random random) {
    for (MergeableMoeLayer layer : layers) {
      int experts = layer.numExperts();
      if (retain > experts || retain < layer.routing().topK()) {
        throw new InvalidInputException(
            String.format(
                "--retain is %d; use %d to %d for this model",
                retain, layer.routing().topK(), experts));
      }
      double[][] mapping = new double[retain][experts];
      double[][] merging = new double[retain][experts];
      for (int row = 0; row < retain; row++) {
        for (int i = 0; i < experts; i++) {
          mapping[row][i] = (row == i ? 1 : 0) + 0.1 * random.nextDouble();
          merging[row][i] = (row == i ? 1 : 0) + 0.1 * random.nextGaussian();
        }
      }
      layer.applyMerge(ExpertMerge.of(mapping, merging), layer.routing().topK());
    }
  }

  /**
   * The seconds of each run.
   *
   * @param bytes of the model's tensors
   * @param running merging into the running model
   * @param written writing a merged folder and loading it
   * @param reading the files' bytes alone, from the page cache
   * @param peakBytes resident memory for the model, whose files are mapped, and the first merge at
   *     its peak; empty where it cannot be read
   */
  record Result(
      MergeBenchmark benchmark,
      long bytes,
      List<Double> running,
      List<Double> written,
      double reading,
      OptionalLong peakBytes)
      implements BenchmarkResult {

    double ratio() {
      return Timing.median(running) / Timing.median(written);
    }

    @Override
    public String table() {
      return String.format(
          Locale.ROOT,
          "merge: %d MB of weights, retain %d, all rows of W_EM dense%n%-24s  %8.2f s%n%-24s  %8.2f s"
              + "%n%-24s  %8.2f s%nratio %.3f, peak memory of model and merge: %s%n",
          bytes / 1_000_000,
          benchmark.retain,
          "into the running model",
          Timing.median(running),
          "merged, written, loaded",
          Timing.median(written),
          "reading the bytes alone",
          reading,
          ratio(),
          peakBytes.isPresent() ? (peakBytes.getAsLong() / 1_000_000) + " MB" : "unknown");
    }

    @Override
    public JsonObject toJson() {
      JsonObject json = new JsonObject();
      json.addProperty("bytes", bytes);
      json.addProperty("retain", benchmark.retain);
      json.add("seconds", Timing.array(running));
      json.add("baseline_seconds", Timing.array(written));
      json.addProperty("reading_seconds", reading);
      json.addProperty("ratio", ratio());
      json.addProperty("peak_bytes", peakBytes.isPresent() ? peakBytes.getAsLong() : null);
      return json;
    }
  }
}
