package io.winnow.examples;

import static java.util.Objects.requireNonNull;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import com.google.common.base.Stopwatch;
import com.google.common.math.Quantiles;
import com.google.gson.JsonObject;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.LayerCalibration;
import io.winnow.pruning.PruningMethod;
import io.winnow.pruning.PruningReport;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * The search of one layer of many experts: what it finds against other methods and random subsets,
 * all by the loss from the inner products of all experts; and how long it takes beside computing
 * every expert's output of every token once, which searches on whole outputs begin with.
 */
final class ManyExpertsBenchmark {
  private static final int RANDOM_SUBSETS = 5000;

  /** Tokens per expert evaluation: as the calibration takes them. */
  private static final int TOKENS_AT_A_TIME = 256;

  private final int hidden;
  private final int intermediate;
  private final int experts;
  private final int topK;
  private final int tokens;
  private final int retain;
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
  ManyExpertsBenchmark(
      int hidden,
      int intermediate,
      int experts,
      int topK,
      int tokens,
      int retain,
      boolean routed,
      int threads,
      int repeat,
      long seed) {
    if (IntStream.of(hidden, intermediate, experts, topK, tokens, retain, threads, repeat)
            .min()
            .getAsInt()
        < 1) {
      throw new InvalidInputException("All sizes of the benchmark must be at least 1");
    }
    if (topK > retain || retain >= experts) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d of %d experts where a token selects %d; --top-k must be at most"
                  + " --retain, and that less than --experts",
              retain, experts, topK));
    }
    this.hidden = hidden;
    this.intermediate = intermediate;
    this.experts = experts;
    this.topK = topK;
    this.tokens = tokens;
    this.retain = retain;
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
          Calibration.ofTokens(new long[][] {LongStream.range(0, tokens).toArray()});
      ExpertPruner pruner = ExpertPruner.builder().optSeed(seed).optExecutor(executor).build();
      List<Double> search = new ArrayList<>();
      List<Double> outputs = new ArrayList<>();
      PruningReport report = pruner.search(model, calibration, retain); // Warms both up.
      for (int i = 0; i < repeat; i++) {
        Stopwatch time = Stopwatch.createStarted();
        report = pruner.search(model, calibration, retain);
        search.add(seconds(time));
        time.reset().start();
        computeAllOutputs(model, calibration);
        outputs.add(seconds(time));
        System.err.printf(
            Locale.ROOT, "search %.2f s, all outputs %.2f s%n", search.get(i), outputs.get(i));
      }
      PruningReport.Layer found = report.layers().get(0);
      Comparison comparison = new Comparison(seed);
      ExpertPruner.builder()
          .optMethod(comparison)
          .optCandidates(experts)
          .build()
          .search(model, calibration, retain);
      double loss = comparison.loss(found.retained());
      return new Result(this, search, outputs, loss, found.truncatedTokens(), comparison.losses);
    } finally {
      executor.shutdown();
    }
  }

  private static double seconds(Stopwatch time) {
    return time.elapsed().toNanos() / 1e9;
  }

  private void computeAllOutputs(HostModel model, Calibration calibration) {
    model.forward(
        calibration.sequences(),
        new ForwardObserver() {
          @Override
          public boolean onInput(MoeLayerView view, NDArray states) {
            for (int from = 0; from < tokens; from += TOKENS_AT_A_TIME) {
              int to = Math.min(tokens, from + TOKENS_AT_A_TIME);
              try (NDArray input = states.get(new NDIndex().addSliceDim(from, to))) {
                for (int expert = 0; expert < experts; expert++) {
                  view.expertOutput(expert, input).close();
                }
              }
            }
            return false;
          }
        });
  }

  private HostModel model(NDManager manager) {
    float scale = (float) (1 / Math.sqrt(hidden));
    float down = (float) (1 / Math.sqrt(intermediate));
    NDList shared = routed ? expert(manager, scale, down) : new NDList();
    List<NDList> weights = new ArrayList<>();
    for (int i = 0; i < experts; i++) {
      NDList own = expert(manager, scale, down);
      for (int j = 0; routed && j < own.size(); j++) {
        // Halves of the variance, as experts have that were copied from one and trained on.
        own.get(j).addi(shared.get(j)).muli(Math.sqrt(0.5));
      }
      weights.add(own);
    }
    shared.close();
    NDArray embedding = random(manager, tokens, hidden, 1);
    NDArray gate = random(manager, experts, hidden, 2 * scale);
    if (routed) {
      int topics = experts / 4 + 1;
      NDArray topic = random(manager, topics, hidden, 1);
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
      try (NDArray liking = random(manager, experts, topics, (float) (1 / Math.sqrt(topics)));
          NDArray towards = liking.matMul(topic)) {
        gate.addi(towards.muli(0.3 * scale)); // About as much as the gate by lot.
      }
      topic.close();
    }
    return new HostModel(embedding, gate, SoftmaxRouting.of(topK, true), weights);
  }

  private NDList expert(NDManager manager, float scale, float down) {
    return new NDList(
        random(manager, intermediate, hidden, scale),
        random(manager, intermediate, hidden, scale),
        random(manager, hidden, intermediate, down));
  }

  private static NDArray random(NDManager manager, int rows, int columns, float scale) {
    return manager.randomNormal(new Shape(rows, columns)).muli(scale);
  }

  /** Measures other methods, greedy elimination and random subsets; retains what it likes. */
  private static final class Comparison implements PruningMethod {
    private final long seed;
    private final Map<String, Double> losses = new LinkedHashMap<>();
    private @Nullable LayerCalibration seen;

    Comparison(long seed) {
      this.seed = seed;
    }

    @Override
    public String name() {
      return "comparison";
    }

    @Override
    public boolean needsExpertOutputs() {
      return true;
    }

    double loss(List<Integer> retained) {
      return requireNonNull(seen).loss(retained);
    }

    /** Drops the expert that costs least, again and again. */
    private List<Integer> eliminate(int retained) {
      List<Integer> kept = IntStream.range(0, requireNonNull(seen).numExperts()).boxed().toList();
      while (kept.size() > retained) {
        List<Integer> best = List.of();
        double least = Double.POSITIVE_INFINITY;
        for (int place = 0; place < kept.size(); place++) {
          List<Integer> fewer = new ArrayList<>(kept);
          fewer.remove(place);
          double loss = loss(fewer);
          if (loss < least) {
            least = loss;
            best = fewer;
          }
        }
        kept = best;
      }
      return kept;
    }

    @Override
    public Choice choose(LayerCalibration calibration, int retained, long unused) {
      seen = calibration;
      for (PruningMethod method :
          List.of(
              PruningMethod.reap(),
              PruningMethod.leaveOneOut(),
              PruningMethod.frequency(),
              PruningMethod.softActivation())) {
        losses.put(method.name(), loss(method.choose(calibration, retained, seed).retained()));
      }
      losses.put("greedy elimination", loss(eliminate(retained)));
      Random lot = new Random(seed);
      List<Integer> order =
          new ArrayList<>(IntStream.range(0, calibration.numExperts()).boxed().toList());
      double best = Double.POSITIVE_INFINITY;
      for (int i = 0; i < RANDOM_SUBSETS; i++) {
        Collections.shuffle(order, lot);
        best = Math.min(best, loss(order.subList(0, retained).stream().sorted().toList()));
      }
      losses.put("best of " + RANDOM_SUBSETS + " random", best);
      return new Choice(order.subList(0, retained).stream().sorted().toList(), false, List.of());
    }
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
      Map<String, Double> others) {

    double ratio() {
      return Quantiles.median().compute(search) / Quantiles.median().compute(outputs);
    }

    boolean isBest() {
      return others.values().stream().allMatch(other -> loss <= other);
    }

    String table() {
      String rows =
          others.entrySet().stream()
              .map(
                  other ->
                      String.format(Locale.ROOT, "%-22s  %12.4f", other.getKey(), other.getValue()))
              .collect(Collectors.joining("%n".formatted()));
      return String.format(
          Locale.ROOT,
          "many experts: %s, hidden %d, intermediate %d, %d experts, top-%d, %d tokens, retain %d,"
              + " float32, %d threads, seed %d%n%-22s  %12s%n%-22s  %12.4f%n%s%n"
              + "search %.2f s, all experts' outputs once %.2f s, ratio %.2f (medians of %d),"
              + " truncated tokens %d, best: %s%n",
          benchmark.routed ? "routed" : "random",
          benchmark.hidden,
          benchmark.intermediate,
          benchmark.experts,
          benchmark.topK,
          benchmark.tokens,
          benchmark.retain,
          benchmark.threads,
          benchmark.seed,
          "",
          "loss",
          "winnow",
          loss,
          rows,
          Quantiles.median().compute(search),
          Quantiles.median().compute(outputs),
          ratio(),
          search.size(),
          truncatedTokens,
          isBest() ? "yes" : "no");
    }

    JsonObject toJson() {
      JsonObject json = new JsonObject();
      json.addProperty("layer", benchmark.routed ? "routed" : "random");
      json.addProperty("hidden", benchmark.hidden);
      json.addProperty("intermediate", benchmark.intermediate);
      json.addProperty("experts", benchmark.experts);
      json.addProperty("top_k", benchmark.topK);
      json.addProperty("tokens", benchmark.tokens);
      json.addProperty("retain", benchmark.retain);
      json.addProperty("threads", benchmark.threads);
      json.addProperty("seed", benchmark.seed);
      json.add("search_seconds", SpeedResult.array(search));
      json.add("outputs_seconds", SpeedResult.array(outputs));
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
