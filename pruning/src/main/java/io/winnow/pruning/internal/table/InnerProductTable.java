package io.winnow.pruning.internal.table;

import io.winnow.core.Routing;
import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleConsumer;
import java.util.stream.IntStream;

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
 * <p>Of a layer with many experts G_t holds only those of a token's m candidates, the experts that
 * it selects and the next best by their selection score, m at least k. A loss for which a token has
 * fewer than k candidates left is an estimate, in which those that there are stand for all; {@link
 * #truncatedTokens} counts such tokens.
 *
 * <p>Memory: about 4 n + 2 m (m + 6) bytes per token. Not thread-safe while it is filled, then
 * thread-safe.
 */
public final class InnerProductTable {
  private final int layerIndex;
  private final int numExperts;
  private final Routing routing;
  private final long tokensPerGroup;
  private final int candidates;
  private final List<TokenBatch> batches = new ArrayList<>();
  private long tokens;

  /**
   * Creates an empty table.
   *
   * @param tokensPerGroup the tokens of one group of the loss
   * @param candidates m, from k to n
   */
  public InnerProductTable(
      int layerIndex, int numExperts, Routing routing, long tokensPerGroup, int candidates) {
    this.layerIndex = layerIndex;
    this.numExperts = numExperts;
    this.routing = routing;
    this.tokensPerGroup = tokensPerGroup;
    this.candidates = candidates;
  }

  /** Adds the tokens that follow. */
  public void add(TokenBatch batch) {
    batches.add(batch);
    tokens += batch.tokens;
  }

  /** Returns m, the experts of each token whose inner products are known. */
  public int candidates() {
    return candidates;
  }

  /** Returns the tokens of one group of the loss. */
  public long tokensPerGroup() {
    return tokensPerGroup;
  }

  /** Returns the tokens, batch after batch. */
  public List<TokenBatch> batches() {
    return batches;
  }

  /** Returns the inner products of a batch. */
  public float[] products(TokenBatch batch) {
    if (batch.products == null) {
      throw new IllegalStateException(
          "The outputs of layer " + layerIndex + "'s experts were not measured");
    }
    return batch.products;
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
    return tokens > 0 && batches.stream().allMatch(batch -> batch.products != null);
  }

  /** Takes one token's use of one expert: its weight, and the L2 norm of the expert's output. */
  @FunctionalInterface
  public interface SelectionVisitor {
    /** Called for every token and each of the experts that it selects in the unpruned layer. */
    void visit(int expert, double weight, double norm);
  }

  /**
   * Shows every selection of an expert by a token, token after token, to a visitor: what scores of
   * experts by their activations sum.
   *
   * @throws IllegalStateException if the experts' outputs were not measured
   */
  public void forEachSelection(SelectionVisitor visitor) {
    for (TokenBatch batch : batches) {
      float[] products = products(batch);
      for (int token = 0; token < batch.tokens; token++) {
        int base = token * TokenBatch.row(batch.vectors());
        for (int rank = 0; rank < batch.selected.topK(); rank++) {
          double square = products[base + TokenBatch.row(rank) + rank];
          visitor.visit(
              batch.selected.expert(token, rank),
              batch.selected.weight(token, rank),
              Math.sqrt(square));
        }
      }
    }
  }

  /** Returns for each expert the number of tokens that select it. */
  public double[] selectionCounts() {
    double[] counts = new double[numExperts];
    for (TokenBatch batch : batches) {
      long[] selected = batch.selected.counts(numExperts);
      for (int expert = 0; expert < numExperts; expert++) {
        counts[expert] += selected[expert];
      }
    }
    return counts;
  }

  /** Returns for each expert the sum of its router scores over all tokens. */
  public double[] softActivation() {
    double[] sums = new double[numExperts];
    for (TokenBatch batch : batches) {
      float[] scores = routing.scores(batch.logits, numExperts);
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
    return new LossEvaluator(this).loss(mask(retained));
  }

  /**
   * Returns the number of tokens for which {@link #loss} does not know all of the k retained
   * experts that they select; 0 if it is exact.
   *
   * @param retained ascending
   */
  public long truncatedTokens(List<Integer> retained) {
    if (candidates == numExperts) {
      return 0;
    }
    LossEvaluator evaluator = new LossEvaluator(this);
    evaluator.loss(mask(retained));
    return evaluator.truncated();
  }

  /**
   * Returns the norm of the target, the original output of the layer: what a loss is relative to.
   */
  public double targetNorm() {
    return new LossEvaluator(this).targetNorm();
  }

  /**
   * Returns the loss on some of the tokens, as one group, relative to the norm of their outputs.
   *
   * @param from the first token
   * @param to behind the last
   */
  public double relativeLoss(List<Integer> retained, long from, long to) {
    LossEvaluator evaluator = new LossEvaluator(this);
    RangeSum errors = new RangeSum(from, to);
    evaluator.forEachError(mask(retained), errors);
    RangeSum norms = new RangeSum(from, to);
    evaluator.forEachSquaredNorm(norms);
    return norms.sum == 0 ? 0 : Math.sqrt(Math.max(0, errors.sum) / norms.sum);
  }

  /** Adds up what is at some places of a sequence. */
  private static final class RangeSum implements DoubleConsumer {
    private final long from;
    private final long to;
    private long place;
    private double sum;

    RangeSum(long from, long to) {
      this.from = from;
      this.to = to;
    }

    @Override
    public void accept(double value) {
      if (place >= from && place < to) {
        sum += value;
      }
      place++;
    }
  }

  private boolean[] mask(List<Integer> experts) {
    boolean[] mask = new boolean[numExperts];
    experts.forEach(expert -> mask[expert] = true);
    return mask;
  }

  /** Returns by expert whether it stays where these are dropped. */
  public boolean[] retaining(List<Integer> dropped) {
    return mask(others(dropped));
  }

  /** Returns the places that are true, ascending. */
  static int[] places(boolean[] mask) {
    return IntStream.range(0, mask.length).filter(place -> mask[place]).toArray();
  }

  /** Returns the experts that are not in {@code retained}, ascending. */
  public List<Integer> others(List<Integer> retained) {
    return IntStream.range(0, numExperts)
        .filter(expert -> !retained.contains(expert))
        .boxed()
        .toList();
  }
}
