package io.winnow.pruning;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import com.google.common.primitives.Doubles;
import com.google.common.primitives.Floats;
import com.google.common.primitives.Ints;
import com.google.common.util.concurrent.Uninterruptibles;
import com.google.gson.JsonObject;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.environment.WinnowVersion;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Prunes a checkpoint on disk layer by layer, with one layer in memory: all calibration tokens run
 * through it, the experts to keep are chosen, what stays is written, and the next layer follows.
 * Every expert is evaluated once per token; the inner products for the search and the layer's
 * output, which the next layer starts from, come from the same outputs.
 */
final class StreamingPruner {
  private static final int MIN_TOKENS = 32;
  private static final int SAMPLE_TOKENS = 256;

  private final Options options;
  private final LayerwiseModel model;
  private final Calibration calibration;
  private final TokenSequences sequences;
  private final int retained;
  private final Path target;
  private final int lastLayer;
  private final int stepTokens;
  private final int batchTokens;

  /**
   * How to prune.
   *
   * @param withOutputs whether the experts' outputs are measured
   * @param batchTokens about how many tokens run through a layer at a time; null for as many as the
   *     memory allows
   * @param memoryBytes for hidden states and experts' outputs
   * @param executor runs what goes on beside the caller's thread; null for nothing
   * @param candidates of a token, or 0 for as many as are needed
   * @param calibrationMemory bytes of one layer's calibration
   * @param tensorListener is told of every tensor that is read to compute with
   */
  record Options(
      PruningMethod method,
      boolean withOutputs,
      int sequencesPerGroup,
      @Nullable Integer batchTokens,
      long seed,
      long memoryBytes,
      List<Device> devices,
      @Nullable ExecutorService executor,
      int candidates,
      long calibrationMemory,
      Consumer<String> tensorListener,
      @Nullable Progress progress) {

    boolean needsForward() {
      return withOutputs || method.needsCalibration();
    }
  }

  /**
   * Opens the source, and checks everything that needs no computing.
   *
   * @throws InvalidInputException if the model or the calibration does not fit
   */
  StreamingPruner(
      Options options, Path source, Calibration calibration, int retained, Path target) {
    this.options = options;
    this.calibration = calibration;
    this.retained = retained;
    this.target = target;
    sequences = calibration.sequences();
    model = MoeModels.layerwise(source, options.tensorListener());
    calibration.checkFits(model.vocabularySize(), model.maxPositions());
    List<LayerwiseModel.MoeLayer> layers = model.moeLayers();
    ExpertPruner.requireLayers(layers);
    for (LayerwiseModel.MoeLayer layer : layers) {
      ExpertPruner.check(layer.layer(), layer.numExperts(), layer.routing(), retained);
    }
    lastLayer = layers.get(layers.size() - 1).layer();
    stepTokens =
        Ints.saturatedCast(Math.max(MIN_TOKENS, options.memoryBytes() / 2 / bytesPerToken()));
    batchTokens = options.batchTokens() == null ? stepTokens : options.batchTokens();
    budget().check();
  }

  /** Returns what the outputs of all experts and the intermediate results of one take. */
  private long bytesPerToken() {
    long experts = model.moeLayers().get(0).numExperts();
    long width = model.hiddenSize();
    return Float.BYTES * ((experts + 4) * width + 3L * model.intermediateSize());
  }

  /** Returns the budget of one layer's calibration; all layers are alike. */
  private CandidateBudget budget() {
    LayerwiseModel.MoeLayer first = model.moeLayers().get(0);
    return new CandidateBudget(
        List.of(new CandidateBudget.Layer(first.numExperts(), first.routing())),
        sequences.tokens(),
        retained,
        options.withOutputs(),
        options.candidates(),
        options.calibrationMemory());
  }

  private LayerCalibration newCalibration(int layer, int numExperts, Routing routing) {
    return ExpertPruner.newCalibration(
        layer,
        numExperts,
        routing,
        sequences,
        options.sequencesPerGroup(),
        budget().candidates(new CandidateBudget.Layer(numExperts, routing)));
  }

  private int batchSequences() {
    return Math.max(1, batchTokens / sequences.length());
  }

  private long hiddenBytes() {
    return options.needsForward() ? Float.BYTES * sequences.tokens() * model.hiddenSize() : 0;
  }

  private boolean hiddenInMemory() {
    return hiddenBytes() <= options.memoryBytes() / 2;
  }

  private JsonObject command() {
    JsonObject json = new JsonObject();
    json.addProperty("version", WinnowVersion.get());
    json.addProperty("source", model.sourceDigest());
    json.addProperty("calibration", calibration.digest());
    json.addProperty("method", options.method().name());
    json.addProperty("retained", retained);
    json.addProperty("seed", options.seed());
    json.addProperty("sequences_per_group", options.sequencesPerGroup());
    json.addProperty("expert_outputs", options.withOutputs());
    // Other batches round otherwise.
    json.addProperty("sequences_per_batch", batchSequences());
    return json;
  }

  private LayerwiseModel.Output output() {
    return model.output(StreamingState.draftOf(target), retained, target);
  }

  PruningReport run() {
    LayerwiseModel.Output output = output();
    boolean begun = Files.isDirectory(StreamingState.folderOf(target));
    if (!begun) {
      output.check();
    }
    try (StreamingState state = StreamingState.open(target, command())) {
      boolean renamed =
          state.nextLayer() > lastLayer
              && Files.exists(target)
              && !Files.exists(StreamingState.draftOf(target));
      if (!renamed) {
        new Run(state, output).run(begun);
      }
      PruningReport report = report(state);
      state.remove();
      return report;
    } catch (UncheckedIOException e) {
      throw new UncheckedIOException(
          new IOException(
              Objects.requireNonNull(e.getCause()).getMessage()
                  + ". What is done is kept in "
                  + StreamingState.folderOf(target)
                  + "; free some space if the disk is full, and repeat the command to go on",
              e));
    }
  }

  private PruningReport report(StreamingState state) {
    return new PruningReport(
        retained,
        false,
        options.sequencesPerGroup(),
        sequences.tokens(),
        state.layers(),
        provenance(),
        state.time());
  }

  private Provenance provenance() {
    return new Provenance(
        options.method().name(),
        options.method().needsCalibration() ? calibration.digest() : null,
        options.seed(),
        model.sourceDigest());
  }

  private static void checkInterrupt() {
    if (Thread.currentThread().isInterrupted()) {
      throw new CancellationException(
          "Pruning was interrupted; the same command goes on from the last complete layer");
    }
  }

  /** One process's part of the work. */
  private final class Run {
    private final StreamingState state;
    private final LayerwiseModel.Output output;
    private final Stopwatch sinceCommit = Stopwatch.createStarted();
    private @Nullable Future<?> ahead;

    Run(StreamingState state, LayerwiseModel.Output output) {
      this.state = state;
      this.output = output;
    }

    void run(boolean begun) {
      Map<Integer, List<Integer>> chosen = new HashMap<>();
      state.layers().forEach(layer -> chosen.put(layer.layer(), layer.retained()));
      // In the order in which they were written.
      for (int layer = 0; layer < state.nextLayer(); layer++) {
        output.recall(layer, chosen.getOrDefault(layer, List.of()));
      }
      if (begun) {
        output.check();
      }
      start();
      try {
        if (options.needsForward()) {
          computeLayers();
        } else {
          for (int layer = state.nextLayer(); layer <= lastLayer; layer++) {
            finish(layer, isMoe(layer) ? choose(layer, null, Stopwatch.createStarted()) : null);
          }
        }
      } finally {
        if (ahead != null) {
          ahead.cancel(true);
        }
        end();
      }
      checkInterrupt();
      output.complete(provenance());
    }

    private void computeLayers() {
      int first = state.nextLayer();
      if (first > lastLayer) {
        return;
      }
      HiddenStates hidden =
          first == 0
              ? embed()
              : HiddenStates.open(
                  state.hiddenFile(first),
                  sequences.count(),
                  sequences.length(),
                  model.hiddenSize());
      try {
        for (int layer = first; layer <= lastLayer; layer++) {
          HiddenStates next = create(layer + 1);
          boolean done = false;
          try {
            compute(layer, hidden, next);
            done = true;
          } finally {
            if (!done) {
              next.close();
            }
          }
          hidden.delete();
          hidden = next;
        }
      } finally {
        hidden.close();
      }
    }

    private HiddenStates create(int layer) {
      return HiddenStates.create(
          state.hiddenFile(layer), sequences.length(), model.hiddenSize(), hiddenInMemory());
    }

    private HiddenStates embed() {
      HiddenStates hidden = create(0);
      boolean done = false;
      try (LayerwiseModel.Embedding embedding = model.openEmbedding(options.devices().get(0));
          NDManager manager = NDManager.newBaseManager(options.devices().get(0), "PyTorch")) {
        for (Batch batch : batches()) {
          checkInterrupt();
          TokenSequences tokens = sequences.slice(batch.from(), batch.to());
          hidden.write(batch.from(), embedding.embed(manager, tokens));
        }
        done = true;
        return hidden;
      } finally {
        if (!done) {
          hidden.close();
        }
      }
    }

    private void compute(int layer, HiddenStates hidden, HiddenStates next) {
      Stopwatch time = Stopwatch.createStarted();
      readAhead(layer + 1);
      LayerCalibration seen = null;
      Map<Device, LayerwiseModel.Layer> opened = new LinkedHashMap<>();
      try {
        for (Device device : options.devices()) {
          if (!opened.containsKey(device)) {
            opened.put(device, model.openLayer(layer, device));
          }
        }
        MoeLayerView view = opened.values().iterator().next().moe().orElse(null);
        if (view != null) {
          seen = newCalibration(layer, view.numExperts(), view.routing());
        }
        run(layer, opened, seen, hidden, next);
      } finally {
        opened.values().forEach(LayerwiseModel.Layer::close);
      }
      next.force();
      finish(layer, seen == null ? null : choose(layer, seen, time));
    }

    /** Runs the batches, as many at the same time as there are devices. */
    private void run(
        int layer,
        Map<Device, LayerwiseModel.Layer> opened,
        @Nullable LayerCalibration seen,
        HiddenStates hidden,
        HiddenStates next) {
      List<Batch> batches = batches();
      int together = options.executor() == null ? 1 : options.devices().size();
      for (int from = 0; from < batches.size(); from += together) {
        checkInterrupt();
        List<Pass> passes = new ArrayList<>();
        for (int i = from; i < Math.min(batches.size(), from + together); i++) {
          Device device = options.devices().get(i % options.devices().size());
          passes.add(
              new Pass(
                  Objects.requireNonNull(opened.get(device)),
                  batches.get(i),
                  layer == lastLayer,
                  seen,
                  hidden,
                  next));
        }
        runAll(passes);
        for (Pass pass : passes) {
          if (seen != null) {
            pass.addTo(seen);
          }
          step();
        }
      }
    }

    private void runAll(List<Pass> passes) {
      ExecutorService executor = options.executor();
      if (executor == null || passes.size() == 1) {
        passes.forEach(Pass::run);
        return;
      }
      List<Future<?>> futures = new ArrayList<>();
      RuntimeException failure = null;
      try {
        passes.forEach(pass -> futures.add(executor.submit(pass)));
      } finally {
        // All are waited for in any case: they use memory that is freed afterwards.
        for (Future<?> future : futures) {
          try {
            Uninterruptibles.getUninterruptibly(future);
          } catch (ExecutionException e) {
            if (failure != null) {
              continue;
            }
            failure = e.getCause() instanceof RuntimeException cause ? cause : unexpected(e);
          }
        }
      }
      if (failure != null) {
        throw failure;
      }
    }

    private IllegalStateException unexpected(ExecutionException e) {
      return new IllegalStateException("A batch failed", e.getCause());
    }

    private PruningReport.Layer choose(
        int layer, @Nullable LayerCalibration measured, Stopwatch time) {
      checkInterrupt();
      LayerCalibration seen = measured;
      if (seen == null) {
        LayerwiseModel.MoeLayer info =
            model.moeLayers().stream()
                .filter(moe -> moe.layer() == layer)
                .findFirst()
                .orElseThrow();
        seen = newCalibration(layer, info.numExperts(), info.routing());
      }
      return ExpertPruner.choose(
          options.method(), seen, retained, options.seed(), options.executor(), time);
    }

    /** Writes a layer, and notes that it is complete. */
    private void finish(int layer, PruningReport.@Nullable Layer choice) {
      output.write(layer, choice == null ? List.of() : choice.retained());
      Duration spent = sinceCommit.elapsed();
      sinceCommit.reset().start();
      state.commit(layer + 1, choice == null ? List.of() : List.of(choice), spent);
    }

    private boolean isMoe(int layer) {
      return model.moeLayers().stream().anyMatch(moe -> moe.layer() == layer);
    }

    private void readAhead(int layer) {
      ExecutorService executor = options.executor();
      if (executor != null && layer <= lastLayer) {
        ahead = executor.submit(() -> model.readAhead(layer));
      }
    }

    private void start() {
      if (options.progress() != null) {
        long layers = lastLayer + 1L - state.nextLayer();
        options.progress().reset("Pruning layer by layer", layers * batches().size());
      }
    }

    private void step() {
      if (options.progress() != null) {
        options.progress().increment(1);
      }
    }

    private void end() {
      if (options.progress() != null) {
        options.progress().end();
      }
    }
  }

  /** Some sequences that run through a layer together. */
  private record Batch(int from, int to) {}

  private List<Batch> batches() {
    List<Batch> batches = new ArrayList<>();
    for (int from = 0; from < sequences.count(); from += batchSequences()) {
      batches.add(new Batch(from, Math.min(sequences.count(), from + batchSequences())));
    }
    return batches;
  }

  /** One batch's pass through a layer. */
  private final class Pass implements Runnable, ForwardObserver {
    private final LayerwiseModel.Layer layer;
    private final Batch batch;
    private final boolean last;
    private final HiddenStates hidden;
    private final HiddenStates next;
    private final @Nullable LayerCalibration seen;
    private @Nullable TokenBatch measured;
    private @Nullable NDArray routedOutput;

    Pass(
        LayerwiseModel.Layer layer,
        Batch batch,
        boolean last,
        @Nullable LayerCalibration seen,
        HiddenStates hidden,
        HiddenStates next) {
      this.layer = layer;
      this.seen = seen;
      this.batch = batch;
      this.last = last;
      this.hidden = hidden;
      this.next = next;
    }

    @Override
    public void run() {
      int count = batch.to() - batch.from();
      try (NDManager scratch = layer.manager().newSubManager()) {
        NDArray input = hidden.take(batch.from(), count, scratch);
        NDArray output = layer.forward(input, count, this);
        if (output != null) {
          next.write(batch.from(), output);
        }
      }
    }

    @Override
    public boolean onInput(MoeLayerView view, NDArray input) {
      LayerCalibration calibration = Objects.requireNonNull(seen);
      if (options.withOutputs()) {
        measured =
            CalibrationPass.measure(
                calibration, view, input, stepTokens, last ? NDArray::close : this::keep);
      } else {
        measured = CalibrationPass.route(calibration, view, input);
        if (!last) {
          float[] output = Floats.toArray(Doubles.asList(RoutedOutput.of(view, input, null)));
          keep(input.getManager().create(output, input.getShape()));
        }
      }
      return !last;
    }

    private void keep(NDArray output) {
      routedOutput = output;
    }

    @Override
    public @Nullable NDArray routedOutput(MoeLayerView view, NDArray input) {
      return routedOutput;
    }

    void addTo(LayerCalibration calibration) {
      calibration.add(Objects.requireNonNull(measured));
    }
  }

  /** Measures a little, and changes nothing. */
  StreamingEstimate estimate() {
    long outputBytes = output().check();
    long layerBytes = 0;
    for (int layer = 0; layer <= lastLayer; layer++) {
      layerBytes = Math.max(layerBytes, model.layerBytes(layer));
    }
    long expert = 3L * Float.BYTES * model.hiddenSize() * model.intermediateSize();
    long memory =
        expert
            + budget().bytes()
            + (hiddenInMemory() ? hiddenBytes() : 0)
            + Math.min(sequences.tokens(), stepTokens) * bytesPerToken();
    return new StreamingEstimate(
        options.needsForward() ? time() : Duration.ZERO,
        memory,
        layerBytes,
        outputBytes,
        2 * hiddenBytes());
  }

  private Duration time() {
    Device device = options.devices().get(0);
    int tokens = Math.min(SAMPLE_TOKENS, sequences.length());
    try (LayerwiseModel.Layer layer = model.openLayer(model.moeLayers().get(0).layer(), device);
        NDManager scratch = layer.manager().newSubManager()) {
      MoeLayerView view = layer.moe().orElseThrow();
      NDArray sample = scratch.randomNormal(new Shape(tokens, model.hiddenSize()));
      ForwardObserver attentionOnly =
          new ForwardObserver() {
            @Override
            public boolean onInput(MoeLayerView moe, NDArray hidden) {
              return false;
            }
          };
      Runnable attention = () -> layer.forward(sample, 1, attentionOnly);
      double attentionSeconds = seconds(attention);
      double few = seconds(() -> evaluate(view, sample, Math.max(1, tokens / 8)));
      double many = seconds(() -> evaluate(view, sample, tokens));
      double perToken = Math.max(0, many - few) / Math.max(1, tokens - Math.max(1, tokens / 8));
      double perCall = Math.max(0, many - perToken * tokens);
      double all = sequences.tokens();
      double calls = Math.ceil(all / Math.min(stepTokens, batchTokens));
      double evaluations = options.withOutputs() ? view.numExperts() : view.routing().topK();
      double ofLayer =
          all / tokens * attentionSeconds
              + evaluations * all * perToken
              + view.numExperts() * calls * perCall;
      long devices = options.executor() == null ? 1 : options.devices().stream().distinct().count();
      return Duration.ofMillis(Math.round(1000 * ofLayer * model.moeLayers().size() / devices));
    }
  }

  private static void evaluate(MoeLayerView view, NDArray sample, int tokens) {
    try (NDArray rows = sample.get("0:" + tokens)) {
      view.expertOutput(0, rows).close();
    }
  }

  /** Returns the shorter of two runs, of which the first reads the weights from disk. */
  private static double seconds(Runnable work) {
    double best = Double.MAX_VALUE;
    for (int i = 0; i < 2; i++) {
      Stopwatch watch = Stopwatch.createStarted();
      work.run();
      best = Math.min(best, watch.elapsed().toNanos() / 1e9);
    }
    return best;
  }
}
