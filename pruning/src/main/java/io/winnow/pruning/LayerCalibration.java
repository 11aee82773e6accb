package io.winnow.pruning;

import io.winnow.core.Routing;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.util.Arrays;
import java.util.List;

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
 * <p>Memory: about 4 n + 2 m (m + 6) bytes per token. Immutable and thread-safe.
 */
public final class LayerCalibration {
  private final InnerProductTable table;

  LayerCalibration(InnerProductTable table) {
    this.table = table;
  }

  InnerProductTable table() {
    return table;
  }

  /** Returns the number of the decoder layer. */
  public int layerIndex() {
    return table.layerIndex();
  }

  /** Returns n, the layer's experts. */
  public int numExperts() {
    return table.numExperts();
  }

  /** Returns the layer's routing. */
  public Routing routing() {
    return table.routing();
  }

  /** Returns the number of calibration tokens. */
  public long tokens() {
    return table.tokens();
  }

  /** Returns whether {@link #loss} can be computed. */
  public boolean hasExpertOutputs() {
    return table.hasExpertOutputs();
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
    table.forEachSelection(visitor::visit);
  }

  /** Returns for each expert the number of tokens that select it. */
  public double[] selectionCounts() {
    return table.selectionCounts();
  }

  /** Returns for each expert the sum of its router scores over all tokens. */
  public double[] softActivation() {
    return table.softActivation();
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
    return table.loss(retained);
  }

  /**
   * Returns the number of tokens for which {@link #loss} does not know all of the k retained
   * experts that they select; 0 if it is exact.
   *
   * @param retained ascending
   */
  public long truncatedTokens(List<Integer> retained) {
    return table.truncatedTokens(retained);
  }

  /**
   * Returns the norm of the target, the original output of the layer: what a loss is relative to.
   */
  public double targetNorm() {
    return table.targetNorm();
  }

  @Override
  public String toString() {
    return "LayerCalibration[layer="
        + layerIndex()
        + ", experts="
        + numExperts()
        + ", tokens="
        + tokens()
        + ", counts="
        + Arrays.toString(selectionCounts())
        + "]";
  }
}
