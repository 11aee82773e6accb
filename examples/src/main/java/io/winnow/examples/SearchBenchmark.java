package io.winnow.examples;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.common.base.Stopwatch;
import com.google.common.math.Quantiles;
import com.google.gson.JsonObject;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.kernel.fused.MatrixProducts.Product;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.SubsetLoss;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/**
 * The search of one layer of random weights: ours, which computes every expert once per token,
 * against the released code's, which runs the layer again for every subset. Both in this process,
 * with the same weights, operations and threads.
 */
final class SearchBenchmark {
  private final int hidden;
  private final int intermediate;
  private final int experts;
  private final int topK;
  private final int tokens;
  private final int retain;
  private final int repeat;

  SearchBenchmark(
      int hidden, int intermediate, int experts, int topK, int tokens, int retain, int repeat) {
    if (IntStream.of(hidden, intermediate, experts, topK, tokens, retain, repeat).min().getAsInt()
        < 1) {
      throw new InvalidInputException("All sizes of the benchmark must be at least 1");
    }
    if (topK > retain || retain > experts) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d of %d experts where a token selects %d; --top-k must be at most"
                  + " --retain, and that at most --experts",
              retain, experts, topK));
    }
    this.hidden = hidden;
    this.intermediate = intermediate;
    this.experts = experts;
    this.topK = topK;
    this.tokens = tokens;
    this.retain = retain;
    this.repeat = repeat;
  }

  Result run() {
    try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
      manager.getEngine().setRandomSeed(7);
      HostModel model = randomModel(manager, tokens);
      long[][] ids = {LongStream.range(0, tokens).toArray()};
      Calibration calibration = Calibration.ofTokens(ids);
      ExpertPruner pruner = ExpertPruner.builder().build();
      List<Double> ours = new ArrayList<>();
      List<Double> theirs = new ArrayList<>();
      // The first run is not timed; it alone has to ask the system for its memory.
      ResidentMemory memory = ResidentMemory.startPeak();
      PruningReport report = pruner.search(model, calibration, retain);
      OptionalLong extraBytes = memory.peakGrowth();
      SubsetLoss best = new SubsetLoss(List.of(), Double.NaN);
      for (int i = 0; i < repeat; i++) {
        Stopwatch time = Stopwatch.createStarted();
        report = pruner.search(model, calibration, retain);
        ours.add(time.elapsed().toNanos() / 1e9);
        System.err.printf(Locale.ROOT, "ours: %.2f s%n", ours.get(i));
        time.reset().start();
        best = new SubsetRuns(model, retain).best(calibration.sequences());
        theirs.add(time.elapsed().toNanos() / 1e9);
        System.err.printf(Locale.ROOT, "a run per subset: %.2f s%n", theirs.get(i));
      }
      return new Result(this, ours, theirs, report.layers().get(0), best, products(), extraBytes);
    }
  }

  private double products() {
    List<Product> products = new ArrayList<>();
    for (int expert = 0; expert < experts; expert++) {
      products.add(new Product(tokens, hidden, intermediate, "gate " + expert));
      products.add(new Product(tokens, hidden, intermediate, "up " + expert));
      products.add(new Product(tokens, intermediate, hidden, "down " + expert));
    }
    return SpeedFloor.seconds(Device.cpu(), DataType.FLOAT32, products);
  }

  private HostModel randomModel(NDManager manager, int vocabulary) {
    float scale = (float) (1 / Math.sqrt(hidden));
    List<NDList> layer =
        IntStream.range(0, experts)
            .mapToObj(
                expert ->
                    new NDList(
                        random(manager, intermediate, hidden, scale),
                        random(manager, intermediate, hidden, scale),
                        random(manager, hidden, intermediate, scale)))
            .toList();
    return new HostModel(
        random(manager, vocabulary, hidden, 1),
        random(manager, experts, hidden, 0.1f),
        SoftmaxRouting.of(topK, true),
        layer);
  }

  private static NDArray random(NDManager manager, int rows, int columns, float scale) {
    return manager.randomNormal(new Shape(rows, columns)).muli(scale);
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
      SearchBenchmark benchmark,
      List<Double> ours,
      List<Double> theirs,
      PruningReport.Layer layer,
      SubsetLoss best,
      double products,
      OptionalLong extraBytes) {

    double speedup() {
      return Quantiles.median().compute(theirs) / Quantiles.median().compute(ours);
    }

    boolean sameChoice() {
      return layer.dropped().equals(best.dropped());
    }

    String table() {
      return String.format(
          Locale.ROOT,
          "search: hidden %d, intermediate %d, %d experts, top-%d, %d tokens, retain %d, float32, %s"
              + " threads%n%-22s  %10s  %-14s  %12s%n%-22s  %8.2f s  %-14s  %12.4f%n%-22s  %8.2f s "
              + " %-14s  %12.4f%n%-22s  %8.2f s  (%.0f %%)%nspeed-up %.1f, same choice: %s, peak extra memory: %s%n",
          benchmark.hidden,
          benchmark.intermediate,
          benchmark.experts,
          benchmark.topK,
          benchmark.tokens,
          benchmark.retain,
          System.getenv().getOrDefault("OMP_NUM_THREADS", "all"),
          "",
          "median",
          "dropped",
          "loss",
          "winnow",
          Quantiles.median().compute(ours),
          layer.dropped(),
          layer.loss().orElse(Double.NaN),
          "a run per subset",
          Quantiles.median().compute(theirs),
          best.dropped(),
          best.loss(),
          "matrix products alone",
          products,
          100 * products / Quantiles.median().compute(ours),
          speedup(),
          sameChoice() ? "yes" : "no",
          extraBytes.isPresent() ? (extraBytes.getAsLong() >> 20) + " MiB" : "unknown");
    }

    JsonObject toJson() {
      JsonObject json = new JsonObject();
      json.addProperty("hidden", benchmark.hidden);
      json.addProperty("intermediate", benchmark.intermediate);
      json.addProperty("experts", benchmark.experts);
      json.addProperty("top_k", benchmark.topK);
      json.addProperty("tokens", benchmark.tokens);
      json.addProperty("retain", benchmark.retain);
      json.add("seconds", SpeedResult.array(ours));
      json.add("baseline_seconds", SpeedResult.array(theirs));
      json.addProperty("matrix_products_seconds", products);
      json.addProperty("speedup", speedup());
      json.addProperty("same_choice", sameChoice());
      json.addProperty("peak_extra_bytes", extraBytes.isPresent() ? extraBytes.getAsLong() : null);
      json.addProperty("engine", Engine.getEngine("PyTorch").getVersion());
      return json;
    }
  }

  /**
   * The released code's way: mask the gate, run the layer, compare its output, for every subset.
   */
  private static final class SubsetRuns {
    private final MoeModel model;
    private final MoeLayerView layer;
    private final int retain;
    private SubsetLoss best = new SubsetLoss(List.of(), Double.NaN);

    SubsetRuns(MoeModel model, int retain) {
      this.model = model;
      this.layer = model.moeLayers().get(0);
      this.retain = retain;
    }

    SubsetLoss best(TokenSequences sequences) {
      model.forward(
          sequences,
          new ForwardObserver() {
            @Override
            public boolean onInput(MoeLayerView seen, NDArray hidden) {
              best = best(hidden);
              return false;
            }
          });
      return best;
    }

    private SubsetLoss best(NDArray hidden) {
      try (NDManager scratch = hidden.getManager().newSubManager()) {
        NDArray logits = layer.routerLogits(hidden);
        logits.attach(scratch);
        NDArray original = output(scratch, hidden, logits, List.of());
        List<SubsetLoss> losses = new ArrayList<>();
        for (List<Integer> dropped : subsets(layer.numExperts() - retain, 0, List.of())) {
          if (Thread.currentThread().isInterrupted()) {
            throw new CancellationException("The benchmark was interrupted");
          }
          try (NDManager run = scratch.newSubManager()) {
            NDArray output = output(run, hidden, logits, dropped);
            NDArray change = output.sub(original).toType(DataType.FLOAT64, false);
            change.attach(run);
            double norm = Math.sqrt(change.square().sum().toDoubleArray()[0]);
            losses.add(new SubsetLoss(dropped, norm));
          }
        }
        return Collections.min(losses);
      }
    }

    private List<List<Integer>> subsets(int size, int from, List<Integer> chosen) {
      if (size == 0) {
        return List.of(chosen);
      }
      List<List<Integer>> all = new ArrayList<>();
      for (int expert = from; expert <= layer.numExperts() - size; expert++) {
        List<Integer> more = new ArrayList<>(chosen);
        more.add(expert);
        all.addAll(subsets(size - 1, expert + 1, more));
      }
      return all;
    }

    /** One run of the layer: each expert computes the tokens that select it. */
    private NDArray output(
        NDManager result, NDArray hidden, NDArray logits, List<Integer> dropped) {
      int tokens = (int) hidden.getShape().get(0);
      int count = layer.numExperts();
      float[] values = logits.toFloatArray();
      for (int token = 0; token < tokens; token++) {
        for (int expert : dropped) {
          values[token * count + expert] = -1e30f;
        }
      }
      RoutingDecision decision = layer.routing().route(values, count);
      NDArray output = result.zeros(new Shape(tokens, hidden.getShape().get(1)));
      for (int expert = 0; expert < count; expert++) {
        List<Long> rows = new ArrayList<>();
        List<Float> weights = new ArrayList<>();
        for (int token = 0; token < tokens; token++) {
          for (int rank = 0; rank < decision.topK(); rank++) {
            if (decision.expert(token, rank) == expert) {
              rows.add((long) token);
              weights.add(decision.weight(token, rank));
            }
          }
        }
        if (!rows.isEmpty()) {
          try (NDManager scratch = result.newSubManager()) {
            NDArray index = scratch.create(rows.stream().mapToLong(Long::longValue).toArray());
            float[] factors = new float[rows.size()];
            for (int i = 0; i < factors.length; i++) {
              factors[i] = weights.get(i);
            }
            NDArray input = hidden.get(index);
            input.attach(scratch);
            NDArray part = layer.expertOutput(expert, input);
            part.attach(scratch);
            part.muli(scratch.create(factors, new Shape(factors.length, 1)));
            NDArray sum = output.get(index).addi(part);
            sum.attach(scratch);
            output.set(new NDIndex("{}", index), sum);
          }
        }
      }
      return output;
    }
  }
}
