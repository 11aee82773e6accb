package io.winnow.pruning;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What was seen of one MoE layer on the calibration tokens: router logits, and, if they were
 * measured, inner products of the experts' outputs, from which the loss of every subset follows
 * without running the layer again.
 *
 * <p>Per token t the table holds G_t[i,j] = &lt;f_i(x_t), f_j(x_t)&gt;, and the loss of retaining
 * the experts C is
 *
 * <pre>
 *   c_t     = a_t(C) - a_t(all)            the change of the token's routing weights
 *   loss(C) = sum over groups of sqrt( sum over the group's tokens of c_t' G_t c_t )
 * </pre>
 *
 * which is NAEE's equation 3 with one group. Where the target is the output of another model's
 * layer (progressive pruning), that output is one more vector in G_t, and takes the place of
 * a_t(all).
 *
 * <p>Memory: 4 (n + n (n + 1) / 2) bytes per token. Not thread-safe while it is filled, then
 * thread-safe.
 */
public final class LayerCalibration {
  private final int layerIndex;
  private final int numExperts;
  private final Routing routing;
  private final long tokensPerGroup;
  private final List<Chunk> chunks = new ArrayList<>();
  private long tokens;

  /**
   * Tokens that were seen together.
   *
   * @param logits {@code [tokens, experts]}
   * @param selected the original routing
   * @param products per token the upper triangle of G_t, row after row; null if not measured
   * @param withTarget whether G_t has a last row for the target
   */
  private record Chunk(
      float[] logits, RoutingDecision selected, float @Nullable [] products, boolean withTarget) {}

  LayerCalibration(int layerIndex, int numExperts, Routing routing, long tokensPerGroup) {
    this.layerIndex = layerIndex;
    this.numExperts = numExperts;
    this.routing = routing;
    this.tokensPerGroup = tokensPerGroup;
  }

  void add(float[] logits, float @Nullable [] products, boolean withTarget) {
    chunks.add(new Chunk(logits, routing.route(logits, numExperts), products, withTarget));
    tokens += logits.length / numExperts;
  }

  /** Returns the number of the decoder layer. */
  public int layerIndex() {
    return layerIndex;
  }

  /** Returns n, the layer's experts. */
  public int numExperts() {
    return numExperts;
  }

  /** Returns the layer's routing. */
  public Routing routing() {
    return routing;
  }

  /** Returns the number of calibration tokens. */
  public long tokens() {
    return tokens;
  }

  /** Returns whether {@link #loss} can be computed. */
  public boolean hasExpertOutputs() {
    return tokens > 0 && chunks.stream().allMatch(chunk -> chunk.products() != null);
  }

  /** Takes one token's use of one expert. */
  @FunctionalInterface
  public interface SelectionVisitor {
    /**
     * Called for every token and each of the experts that it selects in the unpruned layer.
     *
     * @param expert the expert
     * @param weight the routing weight that the layer multiplies the expert's output by
     * @param norm the L2 norm of the expert's output on this token, before the weight
     */
    void visit(int expert, double weight, double norm);
  }

  /**
   * Shows every selection of an expert by a token, token after token, to a visitor: what scores of
   * experts by their activations sum.
   *
   * @throws IllegalStateException if the experts' outputs were not measured
   */
  public void forEachSelection(SelectionVisitor visitor) {
    for (Chunk chunk : chunks) {
      Difference products = new Difference(chunk);
      RoutingDecision selected = chunk.selected();
      for (int token = 0; token < selected.tokens(); token++) {
        products.start(token);
        for (int rank = 0; rank < selected.topK(); rank++) {
          int expert = selected.expert(token, rank);
          double norm = Math.sqrt(products.product(expert, expert));
          visitor.visit(expert, selected.weight(token, rank), norm);
        }
      }
    }
  }

  /** Returns for each expert the number of tokens that select it. */
  public double[] selectionCounts() {
    double[] counts = new double[numExperts];
    for (Chunk chunk : chunks) {
      long[] selected = chunk.selected().counts(numExperts);
      for (int expert = 0; expert < numExperts; expert++) {
        counts[expert] += selected[expert];
      }
    }
    return counts;
  }

  /** Returns for each expert the sum of its router scores over all tokens. */
  public double[] softActivation() {
    double[] sums = new double[numExperts];
    for (Chunk chunk : chunks) {
      float[] scores = routing.scores(chunk.logits(), numExperts);
      for (int i = 0; i < scores.length; i++) {
        sums[i % numExperts] += scores[i];
      }
    }
    return sums;
  }

  /**
   * Returns the loss of retaining only these experts: how far the layer's output moves, as the
   * pruned checkpoint will compute it (the gate's other rows deleted). It is rounded to 41 binary
   * digits, so that subsets which are equally good by symmetry have the same loss.
   *
   * @param retained ascending
   * @throws IllegalStateException if the experts' outputs were not measured
   */
  public double loss(List<Integer> retained) {
    Groups groups = new Groups();
    int[] kept = retained.stream().mapToInt(Integer::intValue).toArray();
    for (Chunk chunk : chunks) {
      RoutingDecision decision = routing.routeAmong(chunk.logits(), numExperts, kept);
      Difference difference = new Difference(chunk);
      for (int token = 0; token < decision.tokens(); token++) {
        difference.start(token);
        for (int rank = 0; rank < decision.topK(); rank++) {
          if (decision.expert(token, rank) != RoutingDecision.NONE) {
            difference.add(decision.expert(token, rank), decision.weight(token, rank));
          }
        }
        groups.add(difference.squaredNorm());
      }
    }
    return rounded(groups.sumOfRoots());
  }

  /** Drops the last 12 binary digits (Veltkamp's splitting). */
  private static double rounded(double value) {
    double scaled = value * ((1 << 12) + 1);
    return scaled - (scaled - value);
  }

  /**
   * Returns the norm of the target, the original output of the layer: what a loss is relative to.
   */
  public double targetNorm() {
    Groups groups = new Groups();
    for (Chunk chunk : chunks) {
      Difference difference = new Difference(chunk);
      for (int token = 0; token < chunk.selected().tokens(); token++) {
        difference.start(token);
        groups.add(difference.squaredNorm());
      }
    }
    return groups.sumOfRoots();
  }

  /** Sums over the tokens of each group, in the order of the tokens. */
  private final class Groups {
    private double sumOfRoots;
    private double group;
    private long inGroup;

    void add(double squaredNorm) {
      group += squaredNorm;
      inGroup++;
      if (inGroup == tokensPerGroup) {
        finish();
      }
    }

    private void finish() {
      // Rounding may take a sum that is really 0 below it.
      sumOfRoots += Math.sqrt(Math.max(0, group));
      group = 0;
      inGroup = 0;
    }

    double sumOfRoots() {
      finish();
      return sumOfRoots;
    }
  }

  /** The change of one token's output as a combination of few vectors, and its length by G_t. */
  private final class Difference {
    private final Chunk chunk;
    private final float[] products;
    private final int size;
    private final int width;
    private final int[] vectors;
    private final double[] factors;
    private int token;
    private int used;

    Difference(Chunk chunk) {
      if (chunk.products() == null) {
        throw new IllegalStateException(
            "The outputs of layer " + layerIndex + "'s experts were not measured");
      }
      this.chunk = chunk;
      products = chunk.products();
      size = numExperts + (chunk.withTarget() ? 1 : 0);
      width = size * (size + 1) / 2;
      vectors = new int[2 * routing.topK() + 1];
      factors = new double[vectors.length];
    }

    /** Starts with what the original layer gives, negative. */
    void start(int newToken) {
      token = newToken;
      used = 0;
      if (chunk.withTarget()) {
        add(numExperts, -1);
        return;
      }
      RoutingDecision original = chunk.selected();
      for (int rank = 0; rank < original.topK(); rank++) {
        add(original.expert(token, rank), -original.weight(token, rank));
      }
    }

    void add(int vector, double factor) {
      for (int i = 0; i < used; i++) {
        if (vectors[i] == vector) {
          factors[i] += factor;
          return;
        }
      }
      vectors[used] = vector;
      factors[used] = factor;
      used++;
    }

    double squaredNorm() {
      double sum = 0;
      for (int i = 0; i < used; i++) {
        if (factors[i] == 0) {
          continue;
        }
        sum += factors[i] * factors[i] * product(vectors[i], vectors[i]);
        for (int j = 0; j < i; j++) {
          sum += 2 * factors[i] * factors[j] * product(vectors[i], vectors[j]);
        }
      }
      return sum;
    }

    double product(int a, int b) {
      int row = Math.min(a, b);
      int column = Math.max(a, b);
      return products[token * width + row * size - row * (row - 1) / 2 + column - row];
    }
  }

  /** Returns the experts that are not in {@code retained}, ascending. */
  List<Integer> others(List<Integer> retained) {
    return IntStream.range(0, numExperts)
        .filter(expert -> !retained.contains(expert))
        .boxed()
        .toList();
  }

  @Override
  public String toString() {
    return "LayerCalibration[layer="
        + layerIndex
        + ", experts="
        + numExperts
        + ", tokens="
        + tokens
        + ", counts="
        + Arrays.toString(selectionCounts())
        + "]";
  }
}
