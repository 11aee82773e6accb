package io.winnow.pruning.internal.shrink;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.LayerCut;
import io.winnow.core.NarrowableMoeLayer;
import io.winnow.core.internal.kernel.fit.FitKernel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * One layer that is cut: its experts' features for all tokens, the channels that stay, and the last
 * matrices, as they are and as they are fitted. Everything belongs to a manager of the caller.
 */
final class LayerCutter {
  /** Tokens below which an expert is named in the report. */
  static final int FEW_TOKENS = 32;

  private final NDManager manager;
  private final NarrowableMoeLayer layer;
  private final FitKernel kernel;
  private final List<Integer> retained;
  private final List<ExpertFeatures> features = new ArrayList<>();
  private final List<List<Integer>> channels = new ArrayList<>();
  private final List<NDArray> down = new ArrayList<>();
  private final NDArray output;

  /**
   * Chooses channels, and computes the layer's output without repair.
   *
   * @param measured the first so many tokens are those by which channels are chosen
   * @param tokens how many there are
   */
  LayerCutter(
      NDManager manager,
      NarrowableMoeLayer layer,
      FitKernel kernel,
      LayerExperts experts,
      LayerRecipe recipe,
      int measured,
      Shape shape,
      Runnable interrupts) {
    this.manager = manager;
    this.layer = layer;
    this.kernel = kernel;
    retained = recipe.retained();
    output = manager.zeros(shape, DataType.FLOAT32);
    for (int i = 0; i < retained.size(); i++) {
      interrupts.run();
      int expert = retained.get(i);
      ExpertFeatures whole = experts.features(manager, expert);
      NDArray matrix = layer.downProjection(manager, expert);
      if (recipe.width() < layer.intermediateSize()) {
        List<Integer> kept =
            recipe.channels().isEmpty()
                ? channelsOf(whole, matrix, measured, recipe.width())
                : recipe.channels().get(i);
        channels.add(kept);
        long[] places = kept.stream().mapToLong(Integer::longValue).toArray();
        NDArray narrowed = kernel.select(manager, whole.features(), 1, places);
        whole.features().close();
        whole = new ExpertFeatures(expert, whole.tokens(), narrowed);
        NDArray rows = kernel.select(manager, matrix, 0, places);
        matrix.close();
        matrix = rows;
      }
      features.add(whole);
      down.add(matrix);
      experts.add(output, whole, matrix);
    }
  }

  /** Returns the channels with the greatest share in what the expert adds, ascending. */
  private List<Integer> channelsOf(ExpertFeatures expert, NDArray matrix, int measured, int width) {
    double[] ofFeatures = new double[expert.channels()];
    double[] ofMatrix;
    try (NDManager scratch = manager.newSubManager()) {
      int rows = expert.rowsIn(measured);
      if (rows > 0) {
        ofFeatures = kernel.energies(expert.rows(scratch, rows));
      }
      NDArray columns = matrix.transpose();
      columns.attach(scratch);
      ofMatrix = kernel.energies(columns);
    }
    // An expert that no token takes is cut by its matrix alone.
    boolean unused = Arrays.stream(ofFeatures).allMatch(energy -> energy == 0);
    double[] energies = new double[ofFeatures.length];
    for (int i = 0; i < energies.length; i++) {
      energies[i] = unused ? ofMatrix[i] : ofFeatures[i] * ofMatrix[i];
    }
    return IntStream.range(0, energies.length)
        .boxed()
        .sorted(Comparator.comparingDouble((Integer i) -> -energies[i]).thenComparing(i -> i))
        .limit(width)
        .sorted()
        .toList();
  }

  /** Returns what the routed experts add without repair, {@code [tokens, hiddenSize]}. */
  NDArray output() {
    return output;
  }

  List<ExpertFeatures> features() {
    return features;
  }

  /**
   * Changes the last matrices.
   *
   * @param changes in the order of the experts
   * @return what the routed experts add more than before, {@code [tokens, hiddenSize]}
   */
  NDArray change(List<NDArray> changes) {
    NDArray more = manager.zeros(output.getShape(), DataType.FLOAT32);
    for (int i = 0; i < changes.size(); i++) {
      ExpertFeatures expert = features.get(i);
      if (expert.tokens().length > 0) {
        try (NDManager scratch = manager.newSubManager()) {
          kernel.addRows(
              more,
              expert.tokens(scratch, expert.tokens().length),
              expert.features(),
              changes.get(i),
              1);
        }
      }
      NDArray changed = down.get(i).add(changes.get(i));
      changed.attach(manager);
      down.get(i).close();
      down.set(i, changed);
    }
    return more;
  }

  /** Returns the experts that few of the first so many tokens take. */
  List<Integer> fewTokens(int measured) {
    return features.stream()
        .filter(expert -> expert.rowsIn(measured) < FEW_TOKENS)
        .map(ExpertFeatures::expert)
        .toList();
  }

  List<List<Integer>> channels() {
    return channels;
  }

  /**
   * Returns the cut.
   *
   * @param repaired whether last matrices are to be written anew
   */
  LayerCut cut(boolean repaired) {
    List<List<Integer>> kept = channels;
    if (kept.isEmpty() && repaired) {
      List<Integer> all = IntStream.range(0, layer.intermediateSize()).boxed().toList();
      kept = retained.stream().map(expert -> all).toList();
    }
    return new LayerCut(retained, kept, repaired ? down : List.of());
  }
}
