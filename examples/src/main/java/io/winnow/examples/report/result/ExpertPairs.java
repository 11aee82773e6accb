package io.winnow.examples.report.result;

import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import java.util.Map;
import java.util.TreeMap;

/**
 * Counts which experts tokens select together (NAEE, arXiv 2402.14800, figure 5), while it watches
 * forward passes. Not thread-safe.
 */
public final class ExpertPairs implements ForwardObserver {
  private final String name;
  private final Map<Integer, Layer> layers = new TreeMap<>();

  /** Starts with no token, on a calibration of this name. */
  public ExpertPairs(String name) {
    this.name = name;
  }

  /** One layer's counts. */
  public static final class Layer {
    private final long[][] together;
    private long tokens;

    private Layer(int numExperts) {
      together = new long[numExperts][numExperts];
    }

    /** Returns the number of experts. */
    public int numExperts() {
      return together.length;
    }

    /** Returns the share of the tokens that select both experts, or the one if they are equal. */
    public double share(int one, int other) {
      return tokens == 0 ? 0 : (double) together[one][other] / tokens;
    }

    private void add(RoutingDecision decision) {
      for (int token = 0; token < decision.tokens(); token++) {
        if (decision.expert(token, 0) != RoutingDecision.NONE) {
          tokens++;
        }
        for (int rank = 0; rank < decision.topK(); rank++) {
          for (int other = 0; other < decision.topK(); other++) {
            int a = decision.expert(token, rank);
            int b = decision.expert(token, other);
            if (a != RoutingDecision.NONE && b != RoutingDecision.NONE) {
              together[a][b]++;
            }
          }
        }
      }
    }
  }

  @Override
  public RoutingDecision onRouting(MoeLayerView layer, float[] logits, RoutingDecision decision) {
    layers
        .computeIfAbsent(layer.layerIndex(), index -> new Layer(layer.numExperts()))
        .add(decision);
    return decision;
  }

  /** Returns what charts call the text. */
  public String name() {
    return name;
  }

  /** Returns what was counted, by the numbers of the layers. */
  public Map<Integer, Layer> layers() {
    return layers;
  }
}
