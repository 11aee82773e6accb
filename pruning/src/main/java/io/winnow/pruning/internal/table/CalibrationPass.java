package io.winnow.pruning.internal.table;

import static java.util.Objects.requireNonNull;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.pruning.internal.work.Interrupts;
import java.util.Arrays;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Computes what {@link InnerProductTable} keeps, from the inputs of one layer: every expert once
 * per token, and the inner products of their outputs.
 */
public final class CalibrationPass {
  /** Outputs of all experts, float32, that exist at the same time. */
  private static final long OUTPUT_BYTES = 256L << 20;

  /**
   * Tokens per expert evaluation on the CPU: enough for the matrix products, and few enough that
   * intermediate results stay in the cache and memory is not handed back and forth with the system.
   */
  private static final int CPU_TOKENS = 256;

  /** Outputs of all experts in float64 that are multiplied at the same time on the CPU. */
  private static final long PRODUCT_BYTES = 4L << 20;

  private CalibrationPass() {}

  /**
   * Adds one batch of tokens to a layer's table.
   *
   * @param hidden the layer's input {@code [tokens, hiddenSize]}
   * @param withOutputs whether to measure the experts' outputs
   * @param target the output to reconstruct, row-major {@code [tokens, hiddenSize]}; null for the
   *     layer's own
   */
  public static void add(
      InnerProductTable table,
      MoeLayerView layer,
      NDArray hidden,
      boolean withOutputs,
      float @Nullable [] target) {
    TokenBatch batch = route(table, layer, hidden);
    if (withOutputs) {
      Products products = new Products(layer, batch, target, false);
      int step = (int) Math.max(32, OUTPUT_BYTES / (4L * products.vectors * width(hidden)));
      if (!hidden.getDevice().isGpu()) {
        // Of the tokens an expert computes those that have it as candidate.
        step = Math.min(step, CPU_TOKENS * batch.numExperts / batch.candidates);
      }
      batch.measured(table.routing(), products.of(hidden, step), target != null);
    }
    table.add(batch);
  }

  /**
   * Measures one batch of tokens, and adds up the layer's output of the same experts' outputs.
   *
   * @param table whose {@link InnerProductTable#add} takes the result; it is unchanged
   * @param step about how many tokens' outputs of all experts may exist at the same time
   * @param output is given the weighted sum {@code [tokens, hiddenSize]}, owned by the manager of
   *     {@code hidden}
   */
  public static TokenBatch measure(
      InnerProductTable table,
      MoeLayerView layer,
      NDArray hidden,
      int step,
      Consumer<NDArray> output) {
    TokenBatch batch = route(table, layer, hidden);
    Products products = new Products(layer, batch, null, true);
    try (NDList sums = products.sums) {
      batch.measured(table.routing(), products.of(hidden, step), false);
      NDArray sum = sums.size() == 1 ? sums.remove(0) : NDArrays.concat(sums, 0);
      sum.attach(hidden.getManager());
      output.accept(sum);
      return batch;
    }
  }

  /** Returns a batch of which nothing but the routing is known. */
  public static TokenBatch route(InnerProductTable table, MoeLayerView layer, NDArray hidden) {
    float[] logits;
    try (NDArray array = layer.routerLogits(hidden)) {
      logits = array.toFloatArray();
    }
    return new TokenBatch(logits, table.numExperts(), table.routing(), table.candidates());
  }

  private static int width(NDArray hidden) {
    return (int) hidden.getShape().get(1);
  }

  /** The inner products of one batch. */
  private static final class Products {
    private final MoeLayerView layer;
    private final TokenBatch batch;
    private final float @Nullable [] target;
    private final int vectors;
    private final float[] products;
    private final boolean withSums;

    /** The layer's output, some tokens after others; empty unless asked for. */
    private final NDList sums = new NDList();

    Products(MoeLayerView layer, TokenBatch batch, float @Nullable [] target, boolean withSums) {
      this.withSums = withSums;
      this.layer = layer;
      this.batch = batch;
      this.target = target;
      vectors = batch.candidates + (target == null ? 0 : 1);
      products = new float[Math.multiplyExact(batch.tokens, TokenBatch.row(vectors))];
    }

    float[] of(NDArray hidden, int step) {
      boolean all = batch.candidates == batch.numExperts;
      if (!all) {
        checkOthers(hidden);
      }
      for (int from = 0; from < batch.tokens; from += step) {
        int to = Math.min(batch.tokens, from + step);
        try (NDManager scratch = hidden.getManager().newSubManager()) {
          NDArray input = rows(scratch, hidden, from, to);
          NDArray sum =
              all ? multiplyAll(scratch, input, from) : multiplyCandidates(scratch, input, from);
          if (sum != null) {
            sum.attach(hidden.getManager());
            sums.add(sum);
          }
        }
      }
      return products;
    }

    /** Returns how many tokens are multiplied at the same time. */
    private int tokensAtATime(NDArray input) {
      long bytes = input.getDevice().isGpu() ? OUTPUT_BYTES : PRODUCT_BYTES;
      return (int) Math.max(1, bytes / (8L * vectors * input.getShape().get(1)));
    }

    /** Every expert computes every token. Returns the layer's output if it is wanted. */
    private @Nullable NDArray multiplyAll(NDManager manager, NDArray input, int start) {
      NDList outputs = new NDList();
      for (int expert = 0; expert < batch.numExperts; expert++) {
        Interrupts.check();
        NDArray output = layer.expertOutput(expert, input);
        output.attach(manager);
        outputs.add(output);
      }
      int tokens = (int) input.getShape().get(0);
      int step = tokensAtATime(input);
      for (int from = 0; from < tokens; from += step) {
        int to = Math.min(tokens, from + step);
        try (NDManager scratch = manager.newSubManager()) {
          NDList parts = new NDList();
          for (NDArray output : outputs) {
            parts.add(rows(scratch, output, from, to));
          }
          if (target != null) {
            parts.add(targets(scratch, input, start + from, to - from));
          }
          multiply(NDArrays.stack(parts, 1), start + from, true);
        }
      }
      return withSums ? weightedSum(manager, outputs, start) : null;
    }

    private NDArray weightedSum(NDManager manager, NDList outputs, int start) {
      int tokens = (int) outputs.head().getShape().get(0);
      float[][] weights = new float[outputs.size()][tokens];
      for (int token = 0; token < tokens; token++) {
        for (int rank = 0; rank < batch.selected.topK(); rank++) {
          weights[batch.selected.expert(start + token, rank)][token] =
              batch.selected.weight(start + token, rank);
        }
      }
      NDArray sum = manager.zeros(outputs.head().getShape());
      for (int expert = 0; expert < weights.length; expert++) {
        try (NDArray column = manager.create(weights[expert], new Shape(tokens, 1));
            NDArray weighted = column.mul(outputs.get(expert))) {
          sum.addi(weighted);
        }
      }
      return sum;
    }

    /** The same, but every expert computes the tokens that have it as candidate. */
    private @Nullable NDArray multiplyCandidates(NDManager manager, NDArray input, int start) {
      int tokens = (int) input.getShape().get(0);
      long width = input.getShape().get(1);
      int[] ends = new int[batch.numExperts];
      int first = start * batch.candidates;
      int count = tokens * batch.candidates;
      for (int i = first; i < first + count; i++) {
        ends[batch.experts[i]]++;
      }
      for (int expert = 1; expert < ends.length; expert++) {
        ends[expert] += ends[expert - 1];
      }
      // Outputs lie expert after expert; the tokens of each in descending order.
      int[] next = ends.clone();
      long[] places = new long[count];
      long[] tokensOf = new long[count];
      for (int i = 0; i < count; i++) {
        places[i] = --next[batch.experts[first + i]];
        tokensOf[(int) places[i]] = i / batch.candidates;
      }
      NDArray outputs = manager.create(new Shape(count, width));
      for (int expert = 0; expert < batch.numExperts; expert++) {
        if (next[expert] == ends[expert]) {
          continue;
        }
        Interrupts.check();
        try (NDArray index =
                manager.create(Arrays.copyOfRange(tokensOf, next[expert], ends[expert]));
            NDArray part = input.get(index);
            NDArray output = layer.expertOutput(expert, part)) {
          outputs.set(new NDIndex().addSliceDim(next[expert], ends[expert]), output);
        }
      }
      int step = tokensAtATime(input);
      for (int from = 0; from < tokens; from += step) {
        int to = Math.min(tokens, from + step);
        try (NDManager scratch = manager.newSubManager()) {
          int m = batch.candidates;
          NDArray index = scratch.create(Arrays.copyOfRange(places, from * m, to * m));
          NDArray part = outputs.get(index);
          part.attach(scratch);
          NDArray stacked = part.reshape(to - from, m, width);
          if (target != null) {
            NDArray more = targets(scratch, input, start + from, to - from);
            stacked = stacked.concat(more.expandDims(1), 1);
          }
          multiply(stacked, start + from, false);
        }
      }
      return withSums ? weightedSum(manager, outputs, places, start) : null;
    }

    /** The same of the outputs at some places, candidate after candidate of each token. */
    private NDArray weightedSum(NDManager manager, NDArray outputs, long[] places, int start) {
      int topK = batch.selected.topK();
      int tokens = places.length / batch.candidates;
      long[] selected = new long[tokens * topK];
      float[] weights = new float[selected.length];
      for (int i = 0; i < selected.length; i++) {
        // The first candidates are those that the token selects.
        selected[i] = places[i / topK * batch.candidates + i % topK];
        weights[i] = batch.selected.weight(start + i / topK, i % topK);
      }
      try (NDManager scratch = manager.newSubManager()) {
        NDArray rows = outputs.get(scratch.create(selected));
        rows.attach(scratch);
        NDArray factors = scratch.create(weights, new Shape(tokens, topK, 1));
        NDArray sum = factors.mul(rows.reshape(tokens, topK, -1)).sum(new int[] {1});
        sum.attach(manager);
        return sum;
      }
    }

    private NDArray targets(NDManager manager, NDArray input, int from, int count) {
      int width = (int) input.getShape().get(1);
      float[] wanted =
          Arrays.copyOfRange(requireNonNull(target), from * width, (from + count) * width);
      return manager.create(wanted, new Shape(count, width));
    }

    /**
     * Stores the lower triangles of G for some tokens.
     *
     * @param stacked {@code [tokens, vectors, d]}
     * @param byExpert whether the vectors are in the order of the experts, not of the candidates
     */
    private void multiply(NDArray stacked, int first, boolean byExpert) {
      int tokens = (int) stacked.getShape().get(0);
      // In float64: where experts are alike, the loss is a small difference of large products.
      NDArray exact = stacked.toType(DataType.FLOAT64, false);
      double[] gram = exact.matMul(exact.transpose(0, 2, 1)).toDoubleArray();
      int[] order = new int[vectors];
      order[vectors - 1] = vectors - 1; // The target, if there is one, is the last in both.
      int place = first * TokenBatch.row(vectors);
      for (int token = 0; token < tokens; token++) {
        int base = token * vectors * vectors;
        for (int i = 0; i < batch.candidates; i++) {
          order[i] = byExpert ? batch.experts[(first + token) * batch.candidates + i] : i;
        }
        for (int i = 0; i < vectors; i++) {
          int row = base + order[i] * vectors;
          checkFinite(first + token, i, gram[row + order[i]]);
          for (int j = 0; j <= i; j++) {
            products[place++] = (float) gram[row + order[j]];
          }
        }
      }
    }

    /** Looks at one output of the experts that are no token's candidate. */
    private void checkOthers(NDArray hidden) {
      boolean[] seen = new boolean[batch.numExperts];
      for (char expert : batch.experts) {
        seen[expert] = true;
      }
      for (int expert = 0; expert < seen.length; expert++) {
        if (!seen[expert]) {
          try (NDArray input = hidden.get(new NDIndex().addSliceDim(0, 1));
              NDArray output = layer.expertOutput(expert, input)) {
            double square = 0;
            for (float value : output.toFloatArray()) {
              square += (double) value * value;
            }
            checkFinite(expert, square);
          }
        }
      }
    }

    private void checkFinite(int token, int place, double squaredNorm) {
      boolean isTarget = place == batch.candidates;
      checkFinite(
          isTarget ? batch.numExperts : batch.experts[token * batch.candidates + place],
          squaredNorm);
    }

    /** Damage would otherwise go unnoticed where it makes no difference to the loss. */
    private void checkFinite(int expert, double squaredNorm) {
      if (!Float.isFinite((float) squaredNorm)) {
        throw new InvalidInputException(
            String.format(
                "The output of %s in layer %d is not finite (its squared norm is %s): the model's"
                    + " weights are damaged",
                expert < batch.numExperts ? "expert " + expert : "the unpruned model",
                layer.layerIndex(),
                squaredNorm));
      }
    }
  }

  private static NDArray rows(NDManager manager, NDArray array, int from, int to) {
    NDArray rows = array.get(new NDIndex().addSliceDim(from, to));
    rows.attach(manager);
    return rows;
  }
}
