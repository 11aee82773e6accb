package io.winnow.pruning.internal.shrink;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.primitives.Ints;
import io.winnow.core.NarrowableMoeLayer;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.kernel.fit.FitKernel;
import java.util.ArrayList;
import java.util.List;

/**
 * The routed experts of one layer at work for all tokens: who takes which with what weight, what
 * the experts' last matrices multiply then, and the sums of their outputs.
 */
final class LayerExperts {
  private final NarrowableMoeLayer layer;
  private final FitKernel kernel;
  private final List<NDArray> inputs;
  private final List<Integer> starts;
  private final List<long[][]> tokens = new ArrayList<>();
  private final List<float[][]> weights = new ArrayList<>();
  private final boolean scalesInputs;

  /**
   * Routes.
   *
   * @param inputs the layer's inputs, batch after batch
   * @param starts the number of each batch's first token
   * @param retained the experts that tokens are routed among
   */
  LayerExperts(
      NarrowableMoeLayer layer,
      FitKernel kernel,
      List<NDArray> inputs,
      List<Integer> starts,
      List<Integer> retained) {
    this.layer = layer;
    this.kernel = kernel;
    this.inputs = inputs;
    this.starts = starts;
    scalesInputs = layer.routing().scalesInputs();
    for (NDArray input : inputs) {
      float[] logits;
      try (NDArray array = layer.routerLogits(input)) {
        logits = array.toFloatArray();
      }
      int experts = layer.numExperts();
      RoutingDecision decision =
          retained.size() == experts
              ? layer.routing().route(logits, experts)
              : layer.routing().routeAmong(logits, experts, Ints.toArray(retained));
      long[][] byExpert = decision.tokensByExpert(experts);
      float[] scores = scalesInputs ? layer.routing().scores(logits, experts) : new float[0];
      float[][] factors = new float[experts][];
      for (int expert = 0; expert < experts; expert++) {
        factors[expert] = new float[byExpert[expert].length];
        for (int i = 0; i < factors[expert].length; i++) {
          int token = (int) byExpert[expert][i];
          factors[expert][i] =
              scalesInputs
                  ? scores[token * experts + expert]
                  : (float) decision.weightOf(token, expert);
        }
      }
      tokens.add(byExpert);
      weights.add(factors);
    }
  }

  /** Computes what an expert's last matrix multiplies; the features belong to {@code owner}. */
  ExpertFeatures features(NDManager owner, int expert) {
    List<Long> all = new ArrayList<>();
    try (NDManager scratch = owner.newSubManager()) {
      NDArray joined = null;
      for (int batch = 0; batch < inputs.size(); batch++) {
        long[] taken = tokens.get(batch)[expert];
        if (taken.length == 0) {
          continue;
        }
        for (long token : taken) {
          all.add(starts.get(batch) + token);
        }
        NDArray part = features(scratch, batch, expert, taken);
        joined = joined == null ? part : attached(scratch, joined.concat(part, 0));
      }
      if (joined == null) {
        joined = scratch.zeros(new Shape(0, layer.intermediateSize()));
      }
      joined.attach(owner);
      return new ExpertFeatures(expert, all.stream().mapToLong(Long::longValue).toArray(), joined);
    }
  }

  private NDArray features(NDManager scratch, int batch, int expert, long[] taken) {
    NDArray factors = scratch.create(weights.get(batch)[expert]);
    NDArray rows = kernel.select(scratch, inputs.get(batch), 0, taken);
    if (scalesInputs) {
      return attached(
          scratch, layer.expertIntermediate(expert, kernel.weighted(scratch, rows, factors)));
    }
    NDArray plain = attached(scratch, layer.expertIntermediate(expert, rows));
    return kernel.weighted(scratch, plain, factors);
  }

  /**
   * Adds an expert's weighted outputs.
   *
   * @param sums {@code [all tokens, hiddenSize]}
   * @param down its last matrix, of the channels of the features
   */
  void add(NDArray sums, ExpertFeatures expert, NDArray down) {
    if (expert.tokens().length == 0) {
      return;
    }
    try (NDManager scratch = sums.getManager().newSubManager()) {
      NDArray places = expert.tokens(scratch, expert.tokens().length);
      kernel.addRows(sums, places, expert.features(), down, 1);
      NDArray bias = layer.downBias(scratch, expert.expert()).orElse(null);
      if (bias != null) {
        float[] factors = new float[expert.tokens().length];
        int place = 0;
        for (float[][] ofBatch : weights) {
          for (float weight : ofBatch[expert.expert()]) {
            factors[place++] = scalesInputs ? 1 : weight;
          }
        }
        NDArray column = scratch.create(factors, new Shape(factors.length, 1));
        kernel.addRows(sums, places, column, attached(scratch, bias.reshape(1, -1)), 1);
      }
    }
  }

  /** Returns an array that now belongs to {@code owner}. */
  static NDArray attached(NDManager owner, NDArray array) {
    array.attach(owner);
    return array;
  }
}
