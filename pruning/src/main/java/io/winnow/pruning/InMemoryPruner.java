package io.winnow.pruning;

import static java.util.Objects.requireNonNull;

import ai.djl.ndarray.NDArray;
import com.google.common.base.Stopwatch;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.pruning.internal.table.CalibrationPass;
import io.winnow.pruning.internal.table.CalibrationTables;
import io.winnow.pruning.internal.table.CandidateBudget;
import io.winnow.pruning.internal.table.GroupedSum;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.RoutedOutput;
import io.winnow.pruning.internal.work.CalibrationRun;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Chooses for all layers of a model in memory from one pass over the calibration. */
final class InMemoryPruner {
  private final PruningTask task;
  private final MoeModel model;
  private final Stopwatch total = Stopwatch.createStarted();
  private final Map<Integer, Stopwatch> times = new HashMap<>();
  private final CandidateBudget budget;
  private final @Nullable String source;

  InMemoryPruner(PruningTask task, MoeModel model) {
    this.task = task;
    this.model = model;
    budget = task.budget(model.moeLayers().stream().map(CandidateBudget.Layer::of).toList());
    source = model.sourceDigest().orElse(null); // Before the work, while its files are there.
  }

  PruningReport report() {
    Map<Integer, InnerProductTable> tables = seeAllLayers();
    List<PruningReport.Layer> layers = new ArrayList<>();
    List<InnerProductTable> seen = new ArrayList<>();
    for (MoeLayerView layer : model.moeLayers()) {
      InnerProductTable ofLayer = seenOf(tables, layer);
      seen.add(ofLayer);
      layers.add(task.choose(ofLayer, watch(layer).start()));
    }
    List<PruningReport.PartLoss> parts =
        task.withOutputs() ? statistics(seen).partLosses(layers) : List.of();
    layers = withTrueLosses(layers);
    Interrupts.check();
    return task.report(false, layers, parts, source, total.elapsed());
  }

  CalibrationStatistics statistics() {
    Map<Integer, InnerProductTable> seen = seeAllLayers();
    return statistics(model.moeLayers().stream().map(layer -> seenOf(seen, layer)).toList());
  }

  private CalibrationStatistics statistics(List<InnerProductTable> seen) {
    return new CalibrationStatistics(
        new CalibrationTables(
            seen,
            task.calibration().digest(),
            source,
            task.options().sequencesPerGroup(),
            task.calibration().parts(),
            task.sequences().length()));
  }

  private InnerProductTable seenOf(Map<Integer, InnerProductTable> seen, MoeLayerView layer) {
    InnerProductTable ofLayer = requireNonNull(seen.get(layer.layerIndex()));
    task.checkAllSeen(ofLayer);
    return ofLayer;
  }

  private Map<Integer, InnerProductTable> seeAllLayers() {
    Map<Integer, InnerProductTable> tables = new HashMap<>();
    for (MoeLayerView layer : model.moeLayers()) {
      tables.put(layer.layerIndex(), task.newTable(layer, budget));
    }
    if (task.needsForward()) {
      budget.check();
      ForwardObserver measuring =
          new LayerObserver() {
            @Override
            void look(MoeLayerView layer, NDArray hidden) {
              InnerProductTable seen = tables.get(layer.layerIndex());
              if (seen != null) {
                Stopwatch time = watch(layer).start();
                CalibrationPass.add(seen, layer, hidden, task.withOutputs(), null);
                time.stop();
              }
            }
          };
      CalibrationRun.forward(model, task.batches(), measuring, task.progress());
    }
    return tables;
  }

  /** Computes the losses for which the inner products did not suffice, by running the layers. */
  private List<PruningReport.Layer> withTrueLosses(List<PruningReport.Layer> layers) {
    Map<Integer, List<Integer>> retainedOf = new HashMap<>();
    Map<Integer, GroupedSum> sums = new HashMap<>();
    for (PruningReport.Layer layer : layers) {
      if (layer.truncatedTokens() > 0) {
        retainedOf.put(layer.layer(), layer.retained());
        sums.put(layer.layer(), new GroupedSum(task.tokensPerGroup()));
      }
    }
    if (sums.isEmpty()) {
      return layers;
    }
    ForwardObserver comparing =
        new LayerObserver() {
          @Override
          void look(MoeLayerView layer, NDArray hidden) {
            GroupedSum sum = sums.get(layer.layerIndex());
            List<Integer> kept = retainedOf.get(layer.layerIndex());
            if (sum != null && kept != null) {
              double[] original = RoutedOutput.of(layer, hidden, null);
              double[] pruned = RoutedOutput.of(layer, hidden, kept);
              sum.addChanges(original, pruned, (int) hidden.getShape().get(1));
            }
          }
        };
    task.batches().forEach(batch -> model.forward(batch, comparing));
    return layers.stream()
        .map(
            layer -> {
              GroupedSum sum = sums.get(layer.layer());
              return sum == null ? layer : layer.withLoss(sum.sumOfRoots());
            })
        .toList();
  }

  /** Looks at every layer's input, and ends the pass at the last layer. */
  private abstract class LayerObserver implements ForwardObserver {
    private final int last = lastLayer();

    @Override
    public final boolean onInput(MoeLayerView layer, NDArray hidden) {
      Interrupts.check();
      look(layer, hidden);
      return layer.layerIndex() != last;
    }

    abstract void look(MoeLayerView layer, NDArray hidden);
  }

  private int lastLayer() {
    List<? extends MoeLayerView> layers = model.moeLayers();
    return layers.get(layers.size() - 1).layerIndex();
  }

  private Stopwatch watch(MoeLayerView layer) {
    return times.computeIfAbsent(layer.layerIndex(), index -> Stopwatch.createUnstarted());
  }
}
