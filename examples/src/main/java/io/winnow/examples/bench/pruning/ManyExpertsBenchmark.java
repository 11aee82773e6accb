package io.winnow.examples.bench.pruning;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import com.google.common.base.Stopwatch;
import com.google.gson.JsonObject;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.examples.HostModel;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.Timing;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.LongStream;

/**
 * The search of one layer of many experts: what it finds against other methods and random subsets,
 * all by the loss from the inner products of all experts; and how long it takes beside computing
 * every expert's output of every token once, which searches on whole outputs begin with.
 */
final class ManyExpertsBenchmark {
  /** Tokens per expert evaluation: as the calibration takes them. */
  private static final int TOKENS_AT_A_TIME = 256;

  private final LayerShape layer;
  private final boolean routed;
  private final int threads;
  private final int repeat;
  private final long seed;

  /**
   * Creates a benchmark.
   *
   * @param routed whether the layer is like a trained one: tokens have topics, which the gate
   *     knows, experts are used unequally, and have much in common; otherwise all is drawn by lot
   */
  ManyExpertsBenchmark(LayerShape layer, boolean routed, int threads, int repeat, long seed) {
    this.layer = layer;
    this.routed = routed;
    this.threads = threads;
    this.repeat = repeat;
    this.seed = seed;
  }

  Result run() {
    ExecutorService executor = Executors.newFixedThreadPool(threads);
    try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
      manager.getEngine().setRandomSeed((int) seed + 7);
      HostModel model = model(manager);
      Calibration calibration =
          Calibration.ofTokens(new long[][] {LongStream.range(0, layer.tokens()).toArray()});
      ExpertPruner pruner = ExpertPruner.builder().optSeed(seed).optExecutor(executor).build();
      List<Double> search = new ArrayList<>();
      List<Double> outputs = new ArrayList<>();
      PruningReport report = pruner.search(model, calibration, layer.retain()); // Warms both up.
      for (int i = 0; i < repeat; i++) {
        Stopwatch time = Stopwatch.createStarted();
        report = pruner.search(model, calibration, layer.retain());
        search.add(Timing.seconds(time));
        time.reset().start();
        computeAllOutputs(model, calibration);
        outputs.add(Timing.seconds(time));
        System.err.printf(
            Locale.ROOT, "search %.2f s, all outputs %.2f s%n", search.get(i), outputs.get(i));
      }
      PruningReport.Layer found = report.layers().get(0);
      OtherSubsets others = new OtherSubsets(seed);
      ExpertPruner.builder()
          .optMethod(others)
          .optCandidates(layer.experts())
          .build()
          .search(model, calibration, layer.retain());
      double loss = others.loss(found.retained());
      return new Result(this, search, outputs, loss, found.truncatedTokens(), others.losses());
    } finally {
      executor.shutdown();
    }
  }

  private void computeAllOutputs(HostModel model, Calibration calibration) {
    model.forward(
        calibration.sequences(),
        new ForwardObserver() {
          @Override
          public boolean onInput(MoeLayerView view, NDArray states) {
            int tokens = layer.tokens();
            for (int from = 0; from < tokens; from += TOKENS_AT_A_TIME) {
              int to = Math.min(tokens, from + TOKENS_AT_A_TIME);
              try (NDArray input = states.get(new NDIndex().addSliceDim(from, to))) {
                for (int expert = 0; expert < layer.experts(); expert++) {
                  view.expertOutput(expert, input).close();
                }
              }
            }
            return false;
          }
        });
  }

  private HostModel model(NDManager manager) {
    int hidden = layer.hidden();
    int experts = layer.experts();
    int tokens = layer.tokens();
    float scale = (float) (1 / Math.sqrt(hidden));
    float down = (float) (1 / Math.sqrt(layer.intermediate()));
    NDList shared = routed ? layer.randomExpert(manager, scale, down) : new NDList();
    List<NDList> weights = new ArrayList<>();
    for (int i = 0; i < experts; i++) {
      NDList own = layer.randomExpert(manager, scale, down);
      for (int j = 0; routed && j < own.size(); j++) {
        // Halves of the variance, as experts have that were copied from one and trained on.
        own.get(j).addi(shared.get(j)).muli(Math.sqrt(0.5));
      }
      weights.add(own);
    }
    shared.close();
    NDArray embedding = LayerShape.random(manager, tokens, hidden, 1);
    NDArray gate = LayerShape.random(manager, experts, hidden, 2 * scale);
    if (routed) {
      int topics = experts / 4 + 1;
      NDArray topic = LayerShape.random(manager, topics, hidden, 1);
      float[] sizes = new float[topics];
      Random lot = new Random(seed);
      long[] topicOf = new long[tokens];
      for (int i = 0; i < tokens; i++) {
        // Of two draws the lower: some topics are more frequent.
        topicOf[i] = Math.min(lot.nextInt(topics), lot.nextInt(topics));
        sizes[(int) topicOf[i]]++;
      }
      try (NDArray index = manager.create(topicOf);
          NDArray rows = topic.get(index)) {
        embedding.addi(rows).muli(Math.sqrt(0.5));
      }
      try (NDArray liking =
              LayerShape.random(manager, experts, topics, (float) (1 / Math.sqrt(topics)));
          NDArray towards = liking.matMul(topic)) {
        gate.addi(towards.muli(0.3 * scale)); // About as much as the gate by lot.
      }
      topic.close();
    }
    return new HostModel(embedding, gate, SoftmaxRouting.of(layer.topK(), true), weights);
  }

  /**
   * What was found and how long it took.
   *
   * @param search seconds of each search, with the calibration pass
   * @param outputs seconds of computing all experts' outputs once
   * @param loss of the subset found
   * @param truncatedTokens for which the search had to estimate
   * @param others losses of other methods' subsets
   */
  record Result(
      ManyExpertsBenchmark benchmark,
      List<Double> search,
      List<Double> outputs,
      double loss,
      long truncatedTokens,
      Map<String, Double> others)
      implements BenchmarkResult {

    double ratio() {
      return Timing.median(search) / Timing.median(outputs);
    }

    boolean isBest() {
      return others.values().stream().allMatch(other -> loss <= other);
    }

    @Override
    public String table() {
      String rows =
          others.entrySet().stream()
              .map(
                  other ->
                      String.format(Locale.ROOT, "%-22s  %12.4f", other.getKey(), other.getValue()))
              .collect(Collectors.joining("%n".formatted()));
      return String.format(
          Locale.ROOT,
          "many experts: %s, %s, %d threads, seed %d%n%-22s  %12s%n%-22s  %12.4f%n%s%n"
              + "search %.2f s, all experts' outputs once %.2f s, ratio %.2f (medians of %d),"
              + " truncated tokens %d, best: %s%n",
          benchmark.routed ? "routed" : "random",
          benchmark.layer.describe(),
          benchmark.threads,
          benchmark.seed,
          "",
          "loss",
          "winnow",
          loss,
          rows,
          Timing.median(search),
          Timing.median(outputs),
          ratio(),
          search.size(),
          truncatedTokens,
          isBest() ? "yes" : "no");
    }

    @Override
    public JsonObject toJson() {
      JsonObject json = benchmark.layer.toJson();
      json.addProperty("layer", benchmark.routed ? "routed" : "random");
      json.addProperty("threads", benchmark.threads);
      json.addProperty("seed", benchmark.seed);
      json.add("search_seconds", Timing.array(search));
      json.add("outputs_seconds", Timing.array(outputs));
      json.addProperty("ratio", ratio());
      json.addProperty("loss", loss);
      json.addProperty("truncated_tokens", truncatedTokens);
      JsonObject losses = new JsonObject();
      others.forEach(losses::addProperty);
      json.add("other_losses", losses);
      json.addProperty("best", isBest());
      json.addProperty("engine", Engine.getEngine("PyTorch").getVersion());
      return json;
    }
  }
}
