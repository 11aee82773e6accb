package io.winnow.examples.bench.pruning;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import com.google.common.base.Stopwatch;
import com.google.gson.JsonObject;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.kernel.fused.MatrixProducts.Product;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.examples.HostModel;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.PeakMemory;
import io.winnow.examples.bench.measure.Timing;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.SubsetLoss;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/**
 * The search of one layer of random weights: ours, which computes every expert once per token,
 * against the released code's, which runs the layer again for every subset. Both in this process,
 * with the same weights, operations and threads.
 */
final class SearchBenchmark {
  private final LayerShape layer;
  private final int repeat;

  SearchBenchmark(LayerShape layer, int repeat) {
    this.layer = layer;
    this.repeat = repeat;
  }

  Result run() {
    try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
      manager.getEngine().setRandomSeed(7);
      HostModel model = randomModel(manager);
      long[][] ids = {LongStream.range(0, layer.tokens()).toArray()};
      Calibration calibration = Calibration.ofTokens(ids);
      ExpertPruner pruner = ExpertPruner.builder().build();
      List<Double> ours = new ArrayList<>();
      List<Double> theirs = new ArrayList<>();
      // The first run is not timed; it alone has to ask the system for its memory.
      PeakMemory memory = PeakMemory.start();
      PruningReport report = pruner.search(model, calibration, layer.retain());
      OptionalLong extraBytes = memory.growth();
      SubsetLoss best = new SubsetLoss(List.of(), Double.NaN);
      for (int i = 0; i < repeat; i++) {
        Stopwatch time = Stopwatch.createStarted();
        report = pruner.search(model, calibration, layer.retain());
        ours.add(Timing.seconds(time));
        System.err.printf(Locale.ROOT, "ours: %.2f s%n", ours.get(i));
        time.reset().start();
        best = new SubsetRuns(model, layer.retain()).best(calibration.sequences());
        theirs.add(Timing.seconds(time));
        System.err.printf(Locale.ROOT, "a run per subset: %.2f s%n", theirs.get(i));
      }
      return new Result(layer, ours, theirs, report.layers().get(0), best, products(), extraBytes);
    }
  }

  private double products() {
    int tokens = layer.tokens();
    int hidden = layer.hidden();
    int intermediate = layer.intermediate();
    List<Product> products = new ArrayList<>();
    for (int expert = 0; expert < layer.experts(); expert++) {
      products.add(new Product(tokens, hidden, intermediate, "gate " + expert));
      products.add(new Product(tokens, hidden, intermediate, "up " + expert));
      products.add(new Product(tokens, intermediate, hidden, "down " + expert));
    }
    return Timing.ofProducts(Device.cpu(), DataType.FLOAT32, products);
  }

  private HostModel randomModel(NDManager manager) {
    float scale = (float) (1 / Math.sqrt(layer.hidden()));
    List<NDList> weights =
        IntStream.range(0, layer.experts())
            .mapToObj(expert -> layer.randomExpert(manager, scale, scale))
            .toList();
    return new HostModel(
        LayerShape.random(manager, layer.tokens(), layer.hidden(), 1),
        LayerShape.random(manager, layer.experts(), layer.hidden(), 0.1f),
        SoftmaxRouting.of(layer.topK(), true),
        weights);
  }

  /**
   * What both found, and how long it took.
   *
   * @param ours seconds of each run
   * @param theirs seconds of each run
   * @param layer what ours chose
   * @param best what theirs chose
   * @param products seconds of the matrix products of every expert once per token, alone
   * @param extraBytes growth of resident memory during our search; empty where it cannot be read
   */
  record Result(
      LayerShape shape,
      List<Double> ours,
      List<Double> theirs,
      PruningReport.Layer layer,
      SubsetLoss best,
      double products,
      OptionalLong extraBytes)
      implements BenchmarkResult {

    double speedup() {
      return Timing.median(theirs) / Timing.median(ours);
    }

    boolean sameChoice() {
      return layer.dropped().equals(best.dropped());
    }

    @Override
    public String table() {
      return String.format(
          Locale.ROOT,
          "search: %s, %s threads%n"
              + "%-22s  %10s  %-14s  %12s%n%-22s  %8.2f s  %-14s  %12.4f%n%-22s  %8.2f s "
              + " %-14s  %12.4f%n%-22s  %8.2f s  (%.0f %%)%nspeed-up %.1f, same choice: %s, peak extra memory: %s%n",
          shape.describe(),
          System.getenv().getOrDefault("OMP_NUM_THREADS", "all"),
          "",
          "median",
          "dropped",
          "loss",
          "winnow",
          Timing.median(ours),
          layer.dropped(),
          layer.loss().orElse(Double.NaN),
          "a run per subset",
          Timing.median(theirs),
          best.dropped(),
          best.loss(),
          "matrix products alone",
          products,
          100 * products / Timing.median(ours),
          speedup(),
          sameChoice() ? "yes" : "no",
          extraBytes.isPresent() ? (extraBytes.getAsLong() >> 20) + " MiB" : "unknown");
    }

    @Override
    public JsonObject toJson() {
      JsonObject json = shape.toJson();
      json.add("seconds", Timing.array(ours));
      json.add("baseline_seconds", Timing.array(theirs));
      json.addProperty("matrix_products_seconds", products);
      json.addProperty("speedup", speedup());
      json.addProperty("same_choice", sameChoice());
      json.addProperty("peak_extra_bytes", extraBytes.isPresent() ? extraBytes.getAsLong() : null);
      json.addProperty("engine", Engine.getEngine("PyTorch").getVersion());
      return json;
    }
  }
}
