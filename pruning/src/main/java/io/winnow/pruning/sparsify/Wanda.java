package io.winnow.pruning.sparsify;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.util.Progress;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.pruning.internal.work.CalibrationRun;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Erases single weights of the routed experts, as Wanda does (arXiv 2306.11695, equation 1): the
 * baseline that NAEE compares itself with in table 1.
 *
 * <pre>{@code
 * WandaMask mask = Wanda.builder().setPattern(SparsityPattern.TWO_OF_FOUR).build().calibrate(model, calibration);
 * SparsityReport report = mask.report(MoeModels.writeMasked(source, mask, mask.provenance(), target, null));
 * }</pre>
 *
 * <p>The score of a weight is {@code S_ij = |W_ij| ||x_j||}; those with the lowest scores of a row
 * (of each four successive ones in 2:4) become zero, and the others stay as they are. x is what the
 * matrix multiplies for the calibration tokens that are routed to its expert: the layer's input for
 * gate and up, the activated product of both for down. One pass of the unchanged model measures all
 * layers; the paper's code instead measures each layer behind the erased ones before it.
 *
 * <p>Immutable and thread-safe; it starts no thread and leaves the model as it is. An interrupt
 * ends a run with a {@link java.util.concurrent.CancellationException}.
 */
public final class Wanda {
  /** Tokens whose float64 copies exist at the same time. */
  private static final int ROWS = 512;

  private final SparsityPattern pattern;
  private final long seed;
  private final @Nullable Progress progress;

  private Wanda(SparsityPattern pattern, long seed, @Nullable Progress progress) {
    this.pattern = pattern;
    this.seed = seed;
    this.progress = progress;
  }

  /** Returns a builder. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Measures a model.
   *
   * @param model a model loaded by {@code MoeModels}, or one whose block is a {@link MoeModel}
   * @param calibration what it is measured on
   * @throws InvalidInputException if the calibration or the pattern does not fit the model, its
   *     weights are not finite, or its routing scales the experts' inputs
   */
  public WandaMask calibrate(Model model, Calibration calibration) {
    return calibrate(MoeModel.of(model), calibration);
  }

  /**
   * Measures a model of the host application.
   *
   * @throws UnsupportedOperationException if its layers do not implement {@link
   *     MoeLayerView#expertIntermediate}
   */
  public WandaMask calibrate(MoeModel model, Calibration calibration) {
    CalibrationRun.check(model, calibration);
    Map<Integer, List<InputNorms>> seen = new TreeMap<>();
    int last = -1;
    for (MoeLayerView layer : model.moeLayers()) {
      if (layer.routing().scalesInputs()) {
        throw new InvalidInputException(
            String.format(
                "The routing of layer %d scales the experts' inputs, which Wanda's norms are not"
                    + " measured for; prune whole experts instead",
                layer.layerIndex()));
      }
      seen.put(
          layer.layerIndex(), Stream.generate(InputNorms::new).limit(layer.numExperts()).toList());
      last = layer.layerIndex();
    }
    String source =
        model.sourceDigest().orElse(null); // Before the work, while its files are there.
    List<TokenSequences> batches =
        CalibrationRun.batches(calibration.sequences(), CalibrationRun.BATCH_TOKENS);
    CalibrationRun.forward(
        model, batches, new Observer(seen, last), SilentProgress.unless(progress));
    return new WandaMask(
        pattern,
        seen,
        calibration.sequences().tokens(),
        new Provenance("wanda-" + pattern, calibration.digest(), seed, source));
  }

  /** Measures each layer in turn. */
  private final class Observer implements ForwardObserver {
    private final Map<Integer, List<InputNorms>> seen;
    private final int last;

    Observer(Map<Integer, List<InputNorms>> seen, int last) {
      this.seen = seen;
      this.last = last;
    }

    @Override
    public boolean onInput(MoeLayerView layer, NDArray hidden) {
      List<InputNorms> ofLayer = seen.get(layer.layerIndex());
      if (ofLayer == null) {
        return true;
      }
      RoutingDecision decision;
      try (NDArray logits = layer.routerLogits(hidden)) {
        decision = layer.routing().route(logits.toFloatArray(), layer.numExperts());
      }
      long[][] tokens = decision.tokensByExpert(layer.numExperts());
      for (int expert = 0; expert < tokens.length; expert++) {
        for (int from = 0; from < tokens[expert].length; from += ROWS) {
          Interrupts.check();
          int to = Math.min(tokens[expert].length, from + ROWS);
          measure(
              layer,
              expert,
              hidden,
              Arrays.copyOfRange(tokens[expert], from, to),
              ofLayer.get(expert));
        }
      }
      return layer.layerIndex() != last;
    }

    private void measure(
        MoeLayerView layer, int expert, NDArray hidden, long[] tokens, InputNorms norms) {
      try (NDManager scratch = hidden.getManager().newSubManager()) {
        NDArray part = hidden.get(scratch.create(tokens));
        part.attach(scratch);
        NDArray inner = layer.expertIntermediate(expert, part);
        inner.attach(scratch);
        pattern.checkFits(part.getShape().get(1));
        pattern.checkFits(inner.getShape().get(1));
        norms.add(part, inner, String.format("expert %d in layer %d", expert, layer.layerIndex()));
      }
    }
  }

  /** What to erase. Not thread-safe. */
  public static final class Builder {
    private @Nullable SparsityPattern pattern;
    private long seed;
    private @Nullable Progress progress;

    private Builder() {}

    /** Sets which weights of a row become zero. */
    public Builder setPattern(SparsityPattern newPattern) {
      pattern = newPattern;
      return this;
    }

    /** Sets the seed of the calibration's sample, to be noted; nothing else is random. */
    public Builder optSeed(long newSeed) {
      seed = newSeed;
      return this;
    }

    /** Sets a listener that is told of every batch of calibration tokens. */
    public Builder optProgress(Progress newProgress) {
      progress = newProgress;
      return this;
    }

    /**
     * Returns the eraser.
     *
     * @throws InvalidInputException if no pattern has been set
     */
    public Wanda build() {
      if (pattern == null) {
        throw new InvalidInputException(
            "Wanda needs to know which weights become zero; call setPattern");
      }
      return new Wanda(pattern, seed, progress);
    }
  }
}
