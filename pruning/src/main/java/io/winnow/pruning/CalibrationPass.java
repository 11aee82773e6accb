package io.winnow.pruning;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Computes what {@link LayerCalibration} keeps, from the inputs of one layer: every expert once per
 * token, and the inner products of their outputs.
 */
final class CalibrationPass {
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
   * Adds one batch of tokens to a layer's calibration.
   *
   * @param hidden the layer's input {@code [tokens, hiddenSize]}
   * @param withOutputs whether to measure the experts' outputs
   * @param target the output to reconstruct, row-major {@code [tokens, hiddenSize]}; null for the
   *     layer's own
   */
  static void add(
      LayerCalibration calibration,
      MoeLayerView layer,
      NDArray hidden,
      boolean withOutputs,
      float @Nullable [] target) {
    float[] logits = logits(layer, hidden);
    float[] products = null;
    if (withOutputs) {
      int vectors = layer.numExperts() + (target == null ? 0 : 1);
      int step = (int) Math.max(32, OUTPUT_BYTES / (4L * vectors * hidden.getShape().get(1)));
      if (!hidden.getDevice().isGpu()) {
        step = Math.min(step, CPU_TOKENS);
      }
      products = products(layer, hidden, target, step, outputs -> {});
    }
    calibration.add(logits, products, target != null);
  }

  /**
   * What a batch of tokens shows of a layer, for {@link LayerCalibration#add}.
   *
   * @param logits {@code [tokens, experts]}
   * @param products as {@link LayerCalibration} keeps them
   */
  record Measured(float[] logits, float[] products) {}

  /**
   * Measures a batch of tokens, and adds up the layer's output of the same experts' outputs.
   *
   * @param step about how many tokens' outputs of all experts may exist at the same time
   * @param output is given the weighted sum {@code [tokens, hiddenSize]}, owned by the manager of
   *     {@code hidden}
   */
  static Measured measure(MoeLayerView layer, NDArray hidden, int step, Consumer<NDArray> output) {
    float[] logits = logits(layer, hidden);
    RoutingDecision decision = layer.routing().route(logits, layer.numExperts());
    try (NDManager scratch = hidden.getManager().newSubManager()) {
      NDList parts = new NDList();
      float[] products =
          products(
              layer,
              hidden,
              null,
              step,
              outputs -> parts.add(weightedSum(scratch, outputs, decision, tokens(parts))));
      NDArray sum = parts.size() == 1 ? parts.head() : NDArrays.concat(parts, 0);
      sum.attach(hidden.getManager());
      output.accept(sum);
      return new Measured(logits, products);
    }
  }

  private static int tokens(NDList parts) {
    return parts.stream().mapToInt(part -> (int) part.getShape().get(0)).sum();
  }

  /**
   * Adds up experts' outputs by a routing decision, of which {@code first} is their first token.
   */
  private static NDArray weightedSum(
      NDManager manager, NDList outputs, RoutingDecision decision, int first) {
    int tokens = (int) outputs.head().getShape().get(0);
    float[][] weights = new float[outputs.size()][tokens];
    for (int token = 0; token < tokens; token++) {
      for (int rank = 0; rank < decision.topK(); rank++) {
        weights[decision.expert(first + token, rank)][token] = decision.weight(first + token, rank);
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

  static float[] logits(MoeLayerView layer, NDArray hidden) {
    try (NDArray array = layer.routerLogits(hidden)) {
      return array.toFloatArray();
    }
  }

  /**
   * Computes the inner products, some tokens at a time.
   *
   * @param observer is shown every expert's output, and then the target, for each step of tokens
   */
  private static float[] products(
      MoeLayerView layer,
      NDArray hidden,
      float @Nullable [] target,
      int step,
      Consumer<NDList> observer) {
    int tokens = (int) hidden.getShape().get(0);
    int width = (int) hidden.getShape().get(1);
    int vectors = layer.numExperts() + (target == null ? 0 : 1);
    float[] products = new float[Math.multiplyExact(tokens, vectors * (vectors + 1) / 2)];
    int place = 0;
    for (int from = 0; from < tokens; from += step) {
      int to = Math.min(tokens, from + step);
      try (NDManager scratch = hidden.getManager().newSubManager()) {
        NDArray input = rows(scratch, hidden, from, to);
        NDList outputs = new NDList();
        for (int expert = 0; expert < layer.numExperts(); expert++) {
          ExpertPruner.checkInterrupt();
          NDArray output = layer.expertOutput(expert, input);
          output.attach(scratch);
          outputs.add(output);
        }
        if (target != null) {
          float[] part = new float[(to - from) * width];
          System.arraycopy(target, from * width, part, 0, part.length);
          outputs.add(scratch.create(part, new Shape(to - from, width)));
        }
        place = multiply(layer, scratch, outputs, products, place);
        observer.accept(outputs);
      }
    }
    return products;
  }

  /** Appends the upper triangles of G for the tokens of these outputs, each {@code [tokens, d]}. */
  private static int multiply(
      MoeLayerView layer, NDManager manager, NDList outputs, float[] products, int start) {
    int place = start;
    int vectors = outputs.size();
    int tokens = (int) outputs.get(0).getShape().get(0);
    int width = (int) outputs.get(0).getShape().get(1);
    long bytes = outputs.get(0).getDevice().isGpu() ? OUTPUT_BYTES : PRODUCT_BYTES;
    int step = (int) Math.max(1, bytes / (8L * vectors * width));
    for (int from = 0; from < tokens; from += step) {
      int to = Math.min(tokens, from + step);
      try (NDManager scratch = manager.newSubManager()) {
        NDList parts = new NDList();
        for (NDArray output : outputs) {
          parts.add(rows(scratch, output, from, to));
        }
        // In float64: where experts are alike, the loss is a small difference of large products.
        NDArray stacked = NDArrays.stack(parts, 1).toType(DataType.FLOAT64, false);
        double[] gram = stacked.matMul(stacked.transpose(0, 2, 1)).toDoubleArray();
        for (int token = 0; token < to - from; token++) {
          for (int i = 0; i < vectors; i++) {
            checkFinite(layer, i, gram[(token * vectors + i) * vectors + i]);
            for (int j = i; j < vectors; j++) {
              products[place++] = (float) gram[(token * vectors + i) * vectors + j];
            }
          }
        }
      }
    }
    return place;
  }

  /** Damage would otherwise go unnoticed where it makes no difference to the loss. */
  private static void checkFinite(MoeLayerView layer, int expert, double squaredNorm) {
    if (!Float.isFinite((float) squaredNorm)) {
      throw new InvalidInputException(
          String.format(
              "The output of %s in layer %d is not finite (its squared norm is %s): the model's"
                  + " weights are damaged",
              expert < layer.numExperts() ? "expert " + expert : "the unpruned model",
              layer.layerIndex(),
              squaredNorm));
    }
  }

  private static NDArray rows(NDManager manager, NDArray array, int from, int to) {
    NDArray rows = array.get(new NDIndex().addSliceDim(from, to));
    rows.attach(manager);
    return rows;
  }
}
