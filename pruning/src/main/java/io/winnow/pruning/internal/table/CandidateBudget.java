package io.winnow.pruning.internal.table;

import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.Routing;
import java.util.List;

/** How many candidates of each token a calibration keeps, and what memory that takes. */
public final class CandidateBudget {
  /** Layers of up to so many experts keep all. */
  private static final int ALL = 16;

  private final List<Layer> layers;
  private final long tokens;
  private final int retained;
  private final boolean withOutputs;
  private final int wanted;
  private final long bytes;

  /** What the memory for a layer's calibration depends on. */
  public record Layer(int numExperts, Routing routing) {
    /** Returns it of a layer of a running model. */
    public static Layer of(MoeLayerView view) {
      return new Layer(view.numExperts(), view.routing());
    }
  }

  /**
   * Creates a budget.
   *
   * @param layers the layers whose calibrations exist at the same time; none for one by one
   * @param wanted candidates, or 0 for as many as are needed
   * @param bytes the most memory
   */
  public CandidateBudget(
      List<Layer> layers, long tokens, int retained, boolean withOutputs, int wanted, long bytes) {
    this.layers = layers;
    this.tokens = tokens;
    this.retained = retained;
    this.withOutputs = withOutputs;
    this.wanted = wanted;
    this.bytes = bytes;
  }

  /**
   * Returns m for a layer, from k to n.
   *
   * @throws InvalidInputException if not even k fit the memory
   */
  public int candidates(Layer layer) {
    int topK = layer.routing().topK();
    int most = Math.max(topK, Math.min(layer.numExperts(), wanted(layer)));
    if (!withOutputs) {
      return topK;
    }
    long share = bytes / Math.max(1, layers.size());
    for (int m = most; m >= topK; m--) {
      if (bytesOf(layer, m) <= share) {
        return m;
      }
    }
    throw new InvalidInputException(
        String.format(
            "Calibrating %d layers on %d tokens takes at least %d MiB with %d candidates a token,"
                + " the memory for it is %d MiB; use fewer sequences or more memory",
            Math.max(1, layers.size()),
            tokens,
            bytesOf(layer, topK) * Math.max(1, layers.size()) >> 20,
            topK,
            bytes >> 20));
  }

  private int wanted(Layer layer) {
    int experts = layer.numExperts();
    if (wanted > 0 || experts <= ALL) {
      return wanted > 0 ? wanted : experts;
    }
    // Of m candidates about m r / n are retained; that they are fewer than k should be rare.
    int topK = layer.routing().topK();
    double enough = topK + 3 * Math.sqrt(topK) + 2;
    return Math.max(ALL, (int) Math.ceil(enough * experts / retained));
  }

  private long bytesOf(Layer layer, int candidates) {
    return tokens
        * TokenBatch.bytesPerToken(layer.routing(), layer.numExperts(), candidates, withOutputs);
  }

  /** Returns what the calibrations that exist at the same time take. */
  public long bytes() {
    return layers.stream().mapToLong(layer -> bytesOf(layer, candidates(layer))).sum();
  }

  /** All layers' tables exist at the same time, and should not run out of heap after hours. */
  public void check() {
    long needed = bytes();
    Runtime runtime = Runtime.getRuntime();
    long available = runtime.maxMemory() - (runtime.totalMemory() - runtime.freeMemory());
    if (needed > available) {
      throw new InvalidInputException(
          String.format(
              "Calibrating %d layers on %d tokens keeps %d MiB on the Java heap, which has %d MiB"
                  + " left; use fewer sequences, less calibration memory, prune layer by layer (the"
                  + " streaming or the progressive option), or a larger -Xmx",
              layers.size(), tokens, needed >> 20, available >> 20));
    }
  }
}
