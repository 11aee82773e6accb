package io.winnow.pruning.sparsify;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.model.ExpertMask;
import io.winnow.core.model.ExpertMatrix;
import io.winnow.core.model.LayerSparsity;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The weights of experts that {@link Wanda} erases: those of a row with the lowest |W_ij| ||x_j||.
 *
 * <p>An expert that no calibration token selects has no norms: its weights are compared by their
 * magnitude alone ({@link #unreached}). Immutable and thread-safe. It holds two norms per expert,
 * of a hidden state and of what is inside, 8 bytes each.
 */
public final class WandaMask implements ExpertMask {
  private final SparsityPattern pattern;
  private final Provenance provenance;
  private final long calibrationTokens;

  /** By layer, the norms of each expert's matrices; null where no token selects it. */
  private final Map<Integer, List<Norms>> layers = new TreeMap<>();

  private record Norms(@Nullable EnumMap<ExpertMatrix, double[]> ofMatrix) {}

  WandaMask(
      SparsityPattern pattern,
      Map<Integer, List<InputNorms>> seen,
      long calibrationTokens,
      Provenance provenance) {
    this.pattern = pattern;
    this.provenance = provenance;
    this.calibrationTokens = calibrationTokens;
    seen.forEach(
        (layer, experts) -> layers.put(layer, experts.stream().map(WandaMask::norms).toList()));
  }

  private static Norms norms(InputNorms seen) {
    if (seen.tokens() == 0) {
      return new Norms(null);
    }
    EnumMap<ExpertMatrix, double[]> norms = new EnumMap<>(ExpertMatrix.class);
    double[] input = seen.of(ExpertMatrix.GATE);
    norms.put(ExpertMatrix.GATE, input);
    norms.put(ExpertMatrix.UP, input);
    norms.put(ExpertMatrix.DOWN, seen.of(ExpertMatrix.DOWN));
    return new Norms(norms);
  }

  /** Returns which weights of a row become zero. */
  public SparsityPattern pattern() {
    return pattern;
  }

  /** Returns how the mask was made, to be noted in a checkpoint. */
  public Provenance provenance() {
    return provenance;
  }

  /** Returns the experts of a layer that no calibration token selects, ascending. */
  public List<Integer> unreached(int layer) {
    List<Norms> experts = experts(layer);
    return IntStream.range(0, experts.size())
        .filter(expert -> experts.get(expert).ofMatrix() == null)
        .boxed()
        .toList();
  }

  private List<Norms> experts(int layer) {
    List<Norms> experts = layers.get(layer);
    if (experts == null) {
      throw new InvalidInputException(
          String.format(
              "Layer %d was not calibrated, only %s were; was the mask made for another model?",
              layer, layers.keySet()));
    }
    return experts;
  }

  @Override
  public void mask(int layer, int expert, ExpertMatrix matrix, float[] weights, boolean[] zero) {
    List<Norms> experts = experts(layer);
    if (expert < 0 || expert >= experts.size()) {
      throw new InvalidInputException(
          String.format(
              "Expert %d of layer %d was not calibrated, only 0 to %d were; was the mask made for"
                  + " another model, or one that has been pruned?",
              expert, layer, experts.size() - 1));
    }
    double[] scores = new double[weights.length];
    EnumMap<ExpertMatrix, double[]> norms = experts.get(expert).ofMatrix();
    double[] ofInputs = norms == null ? null : norms.get(matrix);
    if (ofInputs != null && ofInputs.length != weights.length) {
      throw new InvalidInputException(
          String.format(
              "The rows of matrix %s of layer %d have %d weights, but %d inputs were calibrated; was"
                  + " the mask made for another model?",
              matrix, layer, weights.length, ofInputs.length));
    }
    for (int i = 0; i < scores.length; i++) {
      scores[i] = Math.abs((double) weights[i]) * (ofInputs == null ? 1 : ofInputs[i]);
    }
    pattern.select(scores, zero);
  }

  /**
   * Returns a report of a checkpoint that was written with this mask.
   *
   * @param written what {@code MoeModels.writeMasked} returned
   */
  public SparsityReport report(List<LayerSparsity> written) {
    List<SparsityReport.Layer> reported = new ArrayList<>();
    for (LayerSparsity layer : written) {
      reported.add(new SparsityReport.Layer(layer, unreached(layer.layer())));
    }
    return new SparsityReport(pattern, calibrationTokens, reported, provenance);
  }
}
