package io.winnow.pruning;

import com.google.common.base.Ascii;
import com.google.common.base.Stopwatch;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.core.internal.environment.WinnowVersion;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.internal.search.RetainedNumber;
import io.winnow.pruning.internal.stream.ChosenLayer;
import io.winnow.pruning.internal.stream.LayerWork;
import io.winnow.pruning.internal.stream.StreamSettings;
import io.winnow.pruning.internal.stream.StreamShape;
import io.winnow.pruning.internal.stream.StreamingRun;
import io.winnow.pruning.internal.stream.StreamingState;
import io.winnow.pruning.internal.stream.TimeEstimate;
import io.winnow.pruning.internal.table.CandidateBudget;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;

/** Prunes a checkpoint on disk layer by layer, with one layer in memory. */
final class StreamingPruner implements LayerWork {
  private final PruningTask task;
  private final StreamSettings settings;
  private final LayerwiseModel model;
  private final Path target;
  private final StreamShape shape;

  /** What this process chose, by layer; what earlier ones did is in the state. */
  private final Map<Integer, PruningReport.Layer> chosen = new HashMap<>();

  /**
   * Opens the source, and checks everything that needs no computing.
   *
   * @param memoryBytes for hidden states and experts' outputs
   * @param tensorListener is told of every tensor that is read to compute with
   * @throws InvalidInputException if the model or the calibration does not fit
   */
  StreamingPruner(
      PruningTask task,
      StreamSettings settings,
      long memoryBytes,
      Consumer<String> tensorListener,
      Path source,
      Path target) {
    this.task = task;
    this.settings = settings;
    this.target = target;
    model = MoeModels.layerwise(source, task.options().predictionLayers(), tensorListener);
    task.calibration().checkFits(model.vocabularySize(), model.maxPositions());
    for (LayerwiseModel.MoeLayer layer : model.moeLayers()) {
      RetainedNumber.check(layer.layer(), layer.numExperts(), layer.routing(), task.retained());
    }
    shape =
        new StreamShape(
            model,
            task.sequences(),
            task.needsForward(),
            task.options().batchTokens(),
            memoryBytes);
    budget().check();
  }

  /** Returns the budget of one layer's table; all layers are alike. */
  private CandidateBudget budget() {
    LayerwiseModel.MoeLayer first = model.moeLayers().get(0);
    return task.budget(List.of(new CandidateBudget.Layer(first.numExperts(), first.routing())));
  }

  private JsonObject command() {
    JsonObject json = new JsonObject();
    json.addProperty("version", WinnowVersion.get());
    json.addProperty("source", model.sourceDigest());
    json.addProperty("calibration", task.calibration().digest());
    json.addProperty("method", task.method().name());
    json.addProperty("retained", task.retained());
    json.addProperty("seed", task.options().seed());
    json.addProperty("sequences_per_group", task.options().sequencesPerGroup());
    json.addProperty("expert_outputs", task.withOutputs());
    json.addProperty("mtp", Ascii.toLowerCase(task.options().predictionLayers().name()));
    // Other batches round otherwise.
    json.addProperty("sequences_per_batch", shape.batchSequences());
    return json;
  }

  private LayerwiseModel.Output output() {
    return model.output(StreamingState.draftOf(target), task.retained(), target);
  }

  PruningReport run() {
    LayerwiseModel.Output output = output();
    boolean begun = Files.isDirectory(StreamingState.folderOf(target));
    if (!begun) {
      output.check();
    }
    try (StreamingState state = StreamingState.open(target, command(), LayerJson::read)) {
      boolean renamed =
          state.nextLayer() > StreamingRun.lastLayer(model)
              && Files.exists(target)
              && !Files.exists(StreamingState.draftOf(target));
      if (!renamed) {
        new StreamingRun(model, task.sequences(), shape, settings, this, state, output).run(begun);
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
    List<PruningReport.Layer> layers = state.layers().stream().map(this::reported).toList();
    return task.report(false, layers, List.of(), model.sourceDigest(), state.time())
        .withPredictionLayers(MoeModels.predictionLayers(target));
  }

  private PruningReport.Layer reported(ChosenLayer layer) {
    PruningReport.Layer ofThisProcess = chosen.get(layer.layer());
    return ofThisProcess == null ? LayerJson.read(layer.json()) : ofThisProcess;
  }

  /** Measures a little, and changes nothing. */
  StreamingEstimate estimate() {
    long outputBytes = output().check();
    long layerBytes = 0;
    for (int layer = 0; layer <= StreamingRun.lastLayer(model); layer++) {
      layerBytes = Math.max(layerBytes, model.layerBytes(layer));
    }
    Duration time =
        task.needsForward()
            ? TimeEstimate.measure(model, task.sequences(), shape, settings, task.withOutputs())
            : Duration.ZERO;
    return new StreamingEstimate(
        time,
        shape.workingBytes() + budget().bytes(),
        layerBytes,
        outputBytes,
        2 * shape.hiddenBytes());
  }

  @Override
  public boolean needsForward() {
    return task.needsForward();
  }

  @Override
  public boolean withOutputs() {
    return task.withOutputs();
  }

  @Override
  public InnerProductTable newTable(int layer, int numExperts, Routing routing) {
    return task.newTable(layer, numExperts, routing, budget());
  }

  @Override
  public ChosenLayer choose(InnerProductTable seen, Stopwatch time) {
    PruningReport.Layer layer = task.choose(seen, time);
    chosen.put(layer.layer(), layer);
    return ChosenLayer.of(LayerJson.write(layer));
  }

  @Override
  public Provenance provenance() {
    return task.provenance(false, model.sourceDigest());
  }
}
