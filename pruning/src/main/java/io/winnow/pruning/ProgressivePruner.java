package io.winnow.pruning;

import ai.djl.ndarray.NDArray;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import com.google.common.primitives.Doubles;
import com.google.common.primitives.Floats;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.pruning.internal.table.CalibrationPass;
import io.winnow.pruning.internal.table.CandidateBudget;
import io.winnow.pruning.internal.table.GroupedSum;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.RoutedOutput;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Chooses for layer after layer of a model in memory (NAEE, table 6): a layer's input comes from
 * the model whose earlier layers are pruned already; the target stays what the original model's
 * layer gives.
 */
final class ProgressivePruner {
  private final PruningTask task;
  private final MoeModel model;
  private final Stopwatch total = Stopwatch.createStarted();
  private final List<TokenSequences> batches;
  private final CandidateBudget budget;
  private final @Nullable String source;

  /** What was chosen so far, by layer. */
  private final Map<Integer, List<Integer>> chosen = new HashMap<>();

  ProgressivePruner(PruningTask task, MoeModel model) {
    this.task = task;
    this.model = model;
    batches = task.needsForward() ? task.batches() : List.of();
    budget = task.budget(List.of());
    source = model.sourceDigest().orElse(null); // Before the work, while its files are there.
  }

  PruningReport report() {
    Progress progress = task.progress();
    progress.reset("Calibrating", (long) batches.size() * model.moeLayers().size());
    List<PruningReport.Layer> layers = new ArrayList<>();
    for (MoeLayerView layer : model.moeLayers()) {
      PruningReport.Layer choice = choose(layer, progress);
      if (choice.truncatedTokens() > 0) {
        choice = choice.withLoss(trueLoss(layer, choice.retained()));
      }
      chosen.put(layer.layerIndex(), choice.retained());
      layers.add(choice);
    }
    progress.end();
    Interrupts.check();
    return task.report(true, layers, List.of(), source, total.elapsed());
  }

  private PruningReport.Layer choose(MoeLayerView layer, Progress progress) {
    InnerProductTable seen = task.newTable(layer, budget);
    Stopwatch time = Stopwatch.createUnstarted();
    for (TokenSequences batch : batches) {
      Interrupts.check();
      double[] output = task.withOutputs() ? originalOutput(layer, batch) : null;
      float[] target = output == null ? null : Floats.toArray(Doubles.asList(output));
      forwardTo(
          layer,
          batch,
          chosen,
          hidden -> {
            time.start();
            CalibrationPass.add(seen, layer, hidden, task.withOutputs(), target);
            time.stop();
          });
      progress.increment(1);
    }
    task.checkAllSeen(seen);
    return task.choose(seen, time.start());
  }

  /** Computes a loss for which the inner products did not suffice, by running the layer. */
  private double trueLoss(MoeLayerView layer, List<Integer> kept) {
    GroupedSum sum = new GroupedSum(task.tokensPerGroup());
    for (TokenSequences batch : batches) {
      Interrupts.check();
      double[] original = originalOutput(layer, batch);
      forwardTo(
          layer,
          batch,
          chosen,
          hidden -> {
            double[] output = RoutedOutput.of(layer, hidden, kept);
            sum.addChanges(original, output, (int) hidden.getShape().get(1));
          });
    }
    return sum.sumOfRoots();
  }

  /** Returns what the model as it is makes of a layer's input. */
  private double[] originalOutput(MoeLayerView layer, TokenSequences batch) {
    List<double[]> outputs = new ArrayList<>();
    forwardTo(layer, batch, Map.of(), hidden -> outputs.add(RoutedOutput.of(layer, hidden, null)));
    if (outputs.isEmpty()) {
      throw new IllegalStateException(
          "The model did not show layer "
              + layer.layerIndex()
              + "; its forward must show every MoE layer its input");
    }
    return outputs.get(0);
  }

  /**
   * Shows a layer's input, and ends the pass there.
   *
   * @param retained by layer the experts that tokens are routed among; all where it is absent
   */
  private void forwardTo(
      MoeLayerView wanted,
      TokenSequences batch,
      Map<Integer, List<Integer>> retained,
      Consumer<NDArray> look) {
    model.forward(
        batch,
        new ForwardObserver() {
          @Override
          public boolean onInput(MoeLayerView layer, NDArray hidden) {
            if (layer.layerIndex() != wanted.layerIndex()) {
              return true;
            }
            look.accept(hidden);
            return false;
          }

          @Override
          public RoutingDecision onRouting(
              MoeLayerView layer, float[] logits, RoutingDecision decision) {
            List<Integer> kept = retained.get(layer.layerIndex());
            if (kept == null) {
              return decision;
            }
            int[] experts = kept.stream().mapToInt(Integer::intValue).toArray();
            return layer.routing().routeAmong(logits, layer.numExperts(), experts);
          }
        });
  }
}
