package io.winnow.pruning.internal.stream;

import static java.util.Objects.requireNonNull;

import ai.djl.Device;
import ai.djl.ndarray.NDManager;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.work.Tasks;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;

/**
 * One process's part of pruning a checkpoint on disk: all calibration tokens run through a layer,
 * the experts to keep are chosen, what stays is written, and the next layer follows. Every expert
 * is evaluated once per token; the inner products for the search and the layer's output, which the
 * next layer starts from, come from the same outputs.
 */
public final class StreamingRun {
  private static final String INTERRUPTED =
      "Pruning was interrupted; the same command goes on from the last complete layer";

  private final LayerwiseModel model;
  private final TokenSequences sequences;
  private final StreamShape shape;
  private final StreamSettings settings;
  private final LayerWork work;
  private final StreamingState state;
  private final LayerwiseModel.Output output;
  private final int lastLayer;
  private final Progress progress;
  private final Stopwatch sinceCommit = Stopwatch.createStarted();
  private @Nullable Future<?> ahead;

  /**
   * Creates a run.
   *
   * @param work what to do with each layer
   * @param state how far earlier processes came
   * @param output the checkpoint as far as they have written it
   */
  public StreamingRun(
      LayerwiseModel model,
      TokenSequences sequences,
      StreamShape shape,
      StreamSettings settings,
      LayerWork work,
      StreamingState state,
      LayerwiseModel.Output output) {
    this.model = model;
    this.sequences = sequences;
    this.shape = shape;
    this.settings = settings;
    this.work = work;
    this.state = state;
    this.output = output;
    lastLayer = lastLayer(model);
    progress = SilentProgress.unless(settings.progress());
  }

  /** Returns the last layer that has experts, with which a run ends. */
  public static int lastLayer(LayerwiseModel model) {
    List<LayerwiseModel.MoeLayer> layers = model.moeLayers();
    return layers.get(layers.size() - 1).layer();
  }

  /**
   * Does what is left, and gives the result its name.
   *
   * @param begun whether an earlier process began
   */
  public void run(boolean begun) {
    Map<Integer, List<Integer>> chosen = new HashMap<>();
    state.layers().forEach(layer -> chosen.put(layer.layer(), layer.retained()));
    // In the order in which they were written.
    for (int layer = 0; layer < state.nextLayer(); layer++) {
      output.recall(layer, chosen.getOrDefault(layer, List.of()));
    }
    if (begun) {
      output.check();
    }
    progress.reset(
        "Pruning layer by layer", (lastLayer + 1L - state.nextLayer()) * shape.batches().size());
    try {
      if (work.needsForward()) {
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
      progress.end();
    }
    Interruption.check(INTERRUPTED);
    output.complete(work.provenance());
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
                state.hiddenFile(first), sequences.count(), sequences.length(), model.hiddenSize());
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
        state.hiddenFile(layer), sequences.length(), model.hiddenSize(), shape.hiddenInMemory());
  }

  private HiddenStates embed() {
    HiddenStates hidden = create(0);
    boolean done = false;
    try (LayerwiseModel.Embedding embedding = model.openEmbedding(settings.devices().get(0));
        NDManager manager = NDManager.newBaseManager(settings.devices().get(0), "PyTorch")) {
      for (StreamShape.Batch batch : shape.batches()) {
        Interruption.check(INTERRUPTED);
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
    InnerProductTable seen = null;
    Map<Device, LayerwiseModel.Layer> opened = new LinkedHashMap<>();
    try {
      for (Device device : settings.devices()) {
        if (!opened.containsKey(device)) {
          opened.put(device, model.openLayer(layer, device));
        }
      }
      MoeLayerView view = opened.values().iterator().next().moe().orElse(null);
      if (view != null) {
        seen = work.newTable(layer, view.numExperts(), view.routing());
      }
      run(
          opened,
          new LayerPass.Settings(
              work.withOutputs(), shape.stepTokens(), layer == lastLayer, seen, hidden, next));
    } finally {
      opened.values().forEach(LayerwiseModel.Layer::close);
    }
    next.force();
    finish(layer, seen == null ? null : choose(layer, seen, time));
  }

  /** Runs the batches, as many at the same time as there are devices. */
  private void run(Map<Device, LayerwiseModel.Layer> opened, LayerPass.Settings common) {
    ExecutorService executor = settings.executor();
    List<StreamShape.Batch> batches = shape.batches();
    int together = executor == null ? 1 : settings.devices().size();
    for (int from = 0; from < batches.size(); from += together) {
      Interruption.check(INTERRUPTED);
      List<LayerPass> passes = new ArrayList<>();
      for (int i = from; i < Math.min(batches.size(), from + together); i++) {
        Device device = settings.devices().get(i % settings.devices().size());
        passes.add(new LayerPass(common, requireNonNull(opened.get(device)), batches.get(i)));
      }
      if (executor == null || passes.size() == 1) {
        passes.forEach(LayerPass::run);
      } else {
        Tasks.runAll(executor, passes);
      }
      for (LayerPass pass : passes) {
        pass.finish();
        progress.increment(1);
      }
    }
  }

  private ChosenLayer choose(int layer, @Nullable InnerProductTable measured, Stopwatch time) {
    Interruption.check(INTERRUPTED);
    InnerProductTable seen = measured;
    if (seen == null) {
      LayerwiseModel.MoeLayer info =
          model.moeLayers().stream().filter(moe -> moe.layer() == layer).findFirst().orElseThrow();
      seen = work.newTable(layer, info.numExperts(), info.routing());
    }
    return work.choose(seen, time);
  }

  /** Writes a layer, and notes that it is complete. */
  private void finish(int layer, @Nullable ChosenLayer choice) {
    output.write(layer, choice == null ? List.of() : choice.retained());
    Duration spent = sinceCommit.elapsed();
    sinceCommit.reset().start();
    state.commit(layer + 1, choice == null ? List.of() : List.of(choice), spent);
  }

  private boolean isMoe(int layer) {
    return model.moeLayers().stream().anyMatch(moe -> moe.layer() == layer);
  }

  private void readAhead(int layer) {
    ExecutorService executor = settings.executor();
    if (executor != null && layer <= lastLayer) {
      ahead = executor.submit(() -> model.readAhead(layer));
    }
  }
}
