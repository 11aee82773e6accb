package io.winnow.skipping;

import com.google.common.math.Quantiles;
import com.google.common.primitives.Doubles;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;

/** Finds the thresholds: quantiles of each layer's weight ratios over a calibration's tokens. */
final class SkipThresholds {
  private static final int BATCH_TOKENS = 2048;
  private static final int STEPS = 1_000_000;

  private final MoeModel model;
  private final Calibration calibration;
  private final double rate;
  private final BetaSkipPolicy.Rule rule;

  SkipThresholds(MoeModel model, Calibration calibration, double rate) {
    if (!(rate >= 0 && rate <= 1)) {
      throw new InvalidInputException("The rate of skipping must be from 0 to 1, is " + rate);
    }
    if (model.moeLayers().isEmpty()) {
      throw new InvalidInputException(
          "No layer has experts, so that there is nothing to skip; give a model with experts");
    }
    this.model = model;
    this.calibration = calibration;
    this.rate = rate;
    boolean two = model.moeLayers().stream().allMatch(layer -> layer.routing().topK() == 2);
    rule = two ? BetaSkipPolicy.Rule.RATIO : BetaSkipPolicy.Rule.MASS;
    calibration.checkFits(model.vocabularySize(), model.maxPositions());
    for (MoeLayerView layer : model.moeLayers()) {
      if (layer.routing().topK() < 2) {
        throw oneExpert(layer);
      }
      BetaSkipPolicy.checkRouting(rule, layer);
    }
  }

  private static InvalidInputException oneExpert(MoeLayerView layer) {
    return new InvalidInputException(
        "Every token selects one expert in layer "
            + layer.layerIndex()
            + ", which is never skipped; there is no threshold to choose");
  }

  BetaSkipPolicy policy() {
    Map<Integer, List<Double>> ratios = new TreeMap<>();
    TokenSequences sequences = calibration.sequences();
    int size = Math.max(1, BATCH_TOKENS / sequences.length());
    for (int from = 0; from < sequences.count(); from += size) {
      if (Thread.currentThread().isInterrupted()) {
        throw new CancellationException("The choice of a skip policy was interrupted");
      }
      model.forward(
          sequences.slice(from, Math.min(sequences.count(), from + size)),
          new ForwardObserver() {
            @Override
            public RoutingDecision onRouting(
                MoeLayerView layer, float[] logits, RoutingDecision decision) {
              if (decision.topK() < 2) { // A merge with a lower top-k is applied to the layer.
                throw oneExpert(layer);
              }
              add(ratios.computeIfAbsent(layer.layerIndex(), i -> new ArrayList<>()), decision);
              return decision;
            }
          });
    }
    List<Double> betas = new ArrayList<>();
    for (List<Double> values : ratios.values()) {
      betas.add(
          Quantiles.scale(STEPS)
              .index((int) Math.round(rate * STEPS))
              .computeInPlace(Doubles.toArray(values)));
    }
    return BetaSkipPolicy.of(
        rule,
        List.copyOf(ratios.keySet()),
        betas,
        model.sourceDigest().orElse(null),
        calibration.digest());
  }

  /**
   * Adds w2 / w1, or for every number of experts that may be skipped their share of all weights.
   */
  private void add(List<Double> ratios, RoutingDecision decision) {
    for (int token = 0; token < decision.tokens(); token++) {
      if (rule == BetaSkipPolicy.Rule.RATIO) {
        ratios.add((double) decision.weight(token, 1) / decision.weight(token, 0));
        continue;
      }
      double all = 0;
      for (int rank = 0; rank < decision.topK(); rank++) {
        all += decision.weight(token, rank);
      }
      double tail = 0;
      for (int rank = decision.topK() - 1; rank > 0; rank--) {
        tail += decision.weight(token, rank);
        ratios.add(tail / all);
      }
    }
  }
}
