package io.winnow.pruning.internal.shrink;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerCut;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.NarrowableMoeLayer;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.fit.FitKernel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A walk through the layers of a checkpoint, with all tokens of the calibration: the full model and
 * the one that is cut run side by side, so that each layer is fitted to what the full model has
 * behind it, whatever was spoiled before. One layer is in memory at a time.
 *
 * <p>Memory: the hidden states of all tokens in both models, and for the layer at hand the same
 * four times more, the channels of all tokens' experts, and the equations of the repair.
 */
public final class Walk {
  private final LayerwiseModel model;
  private final SequenceSplit split;
  private final WalkSettings settings;
  private final List<Batch> batches = new ArrayList<>();

  /** What a walk found. */
  public record Result(List<LayerOutcome> layers, @Nullable FidelitySums fidelity) {}

  /** Creates a walk; nothing is read yet. */
  public Walk(LayerwiseModel model, SequenceSplit split, WalkSettings settings) {
    this.model = model;
    this.split = split;
    this.settings = settings;
    int length = split.sequences().length();
    int size = Math.max(1, settings.batchTokens() / length);
    for (int from = 0; from < split.sequences().count(); from += size) {
      int to = Math.min(split.sequences().count(), from + size);
      batches.add(new Batch(from, to, from * length));
    }
  }

  SequenceSplit split() {
    return split;
  }

  WalkSettings settings() {
    return settings;
  }

  List<Batch> batches() {
    return batches;
  }

  int hiddenSize() {
    return model.hiddenSize();
  }

  /**
   * Walks.
   *
   * @param recipes for every layer with experts what is to become of it
   * @param output what is written on the way; null to write nothing
   * @return what became of the layers, and the fidelity on the sequences for comparing if there are
   *     some
   */
  public Result run(Map<Integer, LayerRecipe> recipes, LayerwiseModel.@Nullable Output output) {
    boolean comparing = split.compared() > 0;
    int layers = model.layers();
    int end = layers;
    if (!comparing) {
      // Behind the last layer with experts nothing is cut.
      List<LayerwiseModel.MoeLayer> moe = model.moeLayers();
      end = moe.get(moe.size() - 1).layer() + 1;
    }
    try (NDManager states = NDManager.newBaseManager(settings.device(), "PyTorch")) {
      FitKernel kernel = new FitKernel(states);
      List<NDArray> full = embed(states);
      List<NDArray> cut = full;
      List<LayerOutcome> outcomes = new ArrayList<>();
      for (int index = 0; index < end; index++) {
        interrupts();
        try (LayerwiseModel.Layer layer = model.openLayer(index, settings.device());
            NDManager work = layer.manager().newSubManager()) {
          LayerRecipe recipe = recipes.get(index);
          MoeLayerView view = layer.moe().orElse(null);
          LayerStep step =
              new LayerStep(
                  this, kernel, layer, view == null ? null : narrowable(view), states, work);
          List<NDArray> next;
          if (view == null || recipe == null) {
            next = step.plain(full);
            List<NDArray> nextCut = cut == full ? next : step.plain(cut);
            replace(full, cut);
            full = next;
            cut = nextCut;
            write(output, index, null);
          } else {
            boolean cuts = recipe.cuts(view.numExperts(), narrowable(view).intermediateSize());
            boolean first = cut == full;
            next = step.plain(full);
            if (!cuts && (first || !settings.repair())) {
              List<NDArray> nextCut = first ? next : step.plain(cut);
              replace(full, cut);
              full = next;
              cut = nextCut;
              outcomes.add(
                  new LayerOutcome(index, recipe.retained(), List.of(), 0, 1, 0, 0, List.of()));
              write(output, index, LayerCut.ofExperts(recipe.retained()));
            } else {
              List<NDArray> nextCut = step.cut(index, recipe, full, next, cut, outcomes, output);
              replace(full, cut);
              full = next;
              cut = nextCut;
            }
          }
        }
        settings.progress().increment(1);
      }
      if (output != null) {
        for (int index = end; index < layers; index++) {
          write(output, index, null);
        }
      }
      return new Result(outcomes, comparing ? compare(kernel, full, cut) : null);
    }
  }

  static void write(LayerwiseModel.@Nullable Output output, int layer, @Nullable LayerCut cut) {
    if (output == null) {
      return;
    }
    if (cut == null) {
      output.write(layer, List.of());
    } else {
      output.write(layer, cut);
    }
  }

  private static void replace(List<NDArray> full, List<NDArray> cut) {
    full.forEach(NDArray::close);
    if (cut != full) {
      cut.forEach(NDArray::close);
    }
  }

  /** Ends the walk if the thread was interrupted. */
  void interrupts() {
    Interruption.check(settings.interrupted());
  }

  private static NarrowableMoeLayer narrowable(MoeLayerView view) {
    if (view instanceof NarrowableMoeLayer narrowable) {
      return narrowable;
    }
    throw new InvalidInputException(
        view.getClass().getName()
            + " does not show the last matrices of its experts; let it implement"
            + " NarrowableMoeLayer");
  }

  private List<NDArray> embed(NDManager states) {
    List<NDArray> hidden = new ArrayList<>();
    try (LayerwiseModel.Embedding embedding = model.openEmbedding(settings.device())) {
      for (Batch batch : batches) {
        interrupts();
        hidden.add(embedding.embed(states, split.sequences().slice(batch.from(), batch.to())));
      }
    }
    return hidden;
  }

  /** Compares the predictions on the sequences for comparing. */
  private FidelitySums compare(FitKernel kernel, List<NDArray> full, List<NDArray> cut) {
    FidelitySums sums = new FidelitySums();
    int first = split.sequences().count() - split.compared();
    int length = split.sequences().length();
    try (LayerwiseModel.Head head = model.openHead(settings.device())) {
      for (int i = 0; i < batches.size(); i++) {
        Batch batch = batches.get(i);
        for (int sequence = Math.max(first, batch.from()); sequence < batch.to(); sequence++) {
          interrupts();
          int start = (sequence - batch.from()) * length;
          String rows = start + ":" + (start + length);
          try (NDManager scratch = full.get(i).getManager().newSubManager()) {
            NDArray fullRows = LayerExperts.attached(scratch, full.get(i).get(rows));
            NDArray cutRows = LayerExperts.attached(scratch, cut.get(i).get(rows));
            long[] ids = split.sequences().sequence(sequence);
            long[] following = new long[length];
            System.arraycopy(ids, 1, following, 0, length - 1);
            sums.add(
                kernel.fidelity(
                    head.logits(fullRows), head.logits(cutRows), scratch.create(following)));
          }
        }
      }
    }
    return sums;
  }
}
