package io.winnow.core.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.ndarray.types.SparseFormat;
import ai.djl.nn.Activation;
import ai.djl.nn.core.Embedding;
import ai.djl.nn.core.Linear;
import io.winnow.core.RoutingDecision;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations as plain NDArray operations in float32: what {@link FusedKernel} is
 * compared with, and what training differentiates. Thread-safe. Not part of the API.
 *
 * <p>Intermediate results belong to the manager that is passed in, and go with it.
 */
public final class ReferenceKernel implements Kernel {
  private final double epsilon;

  /**
   * Creates a kernel.
   *
   * @param epsilon of the RMS norms
   */
  public ReferenceKernel(double epsilon) {
    this.epsilon = epsilon;
  }

  @Override
  public DeviceTensor embed(NDManager manager, DeviceTensor table, NDArray ids) {
    NDArray kept = kept(manager, ids.duplicate());
    return own(
        manager,
        Embedding.embedding(kept.flatten(), table.array(), SparseFormat.DENSE).singletonOrThrow());
  }

  @Override
  public AttentionContext prepare(
      NDManager manager,
      AttentionConfig config,
      RotaryTable table,
      int tokens,
      int past,
      long[] padding,
      int paddingStart) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray positions = AttentionContext.positions(scratch, tokens, past, padding, paddingStart);
      NDArray angles =
          positions.toType(DataType.FLOAT32, false).expandDims(-1).mul(table.inverseFrequencies());
      angles = angles.concat(angles, -1).expandDims(1);
      NDArray mask =
          AttentionContext.mask(
              scratch, tokens, past, padding, paddingStart, config.slidingWindow(), tokens > 1);
      return new AttentionContext(
          own(manager, angles.cos()),
          own(manager, angles.sin()),
          mask == null ? null : own(manager, mask),
          padding.length,
          tokens,
          null);
    }
  }

  @Override
  public DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      TensorList weights,
      AttentionConfig config,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    NDArray residual = hidden.array();
    NDArray cos = context.cos().array();
    NDArray sin = context.sin().array();
    NDArray x = normalize(residual, weights.get(0).array());
    NDArray query = rotate(heads(x, weights.get(1), context, config.heads()), cos, sin);
    NDArray key = rotate(heads(x, weights.get(2), context, config.keyValueHeads()), cos, sin);
    NDArray value = heads(x, weights.get(3), context, config.keyValueHeads());
    if (cache != null) {
      DeviceTensor keys = cache.keys();
      DeviceTensor values = cache.values();
      if (keys != null && values != null) {
        // Results belong to their first operand's manager, here the cache's.
        key = attach(manager, keys.array().concat(key, 2));
        value = attach(manager, values.array().concat(value, 2));
      }
      cache.set(DeviceTensor.owning(key.duplicate()), DeviceTensor.owning(value.duplicate()));
    }
    int groups = config.heads() / config.keyValueHeads();
    NDArray scores =
        query
            .matMul(repeatHeads(key, groups).transpose(0, 1, 3, 2))
            .mul(kept(manager, manager.create((float) config.scale())));
    DeviceTensor mask = context.mask();
    if (mask != null) {
      scores = scores.add(mask.array());
    }
    NDArray attended =
        scores
            .softmax(-1)
            .matMul(repeatHeads(value, groups))
            .transpose(0, 2, 1, 3)
            .reshape(residual.getShape().get(0), -1);
    return own(manager, residual.add(linear(attended, weights.get(4))));
  }

  private static NDArray heads(
      NDArray x, DeviceTensor weight, AttentionContext context, int heads) {
    return linear(x, weight)
        .reshape(context.sequences(), context.tokens(), heads, -1)
        .transpose(0, 2, 1, 3);
  }

  private static NDArray repeatHeads(NDArray x, int times) {
    return times == 1 ? x : x.repeat(1, times);
  }

  private static NDArray rotate(NDArray x, NDArray cos, NDArray sin) {
    long half = x.getShape().get(3) / 2;
    NDArray first = x.get(new NDIndex("..., :{}", half));
    NDArray second = x.get(new NDIndex("..., {}:", half));
    return x.mul(cos).add(second.neg().concat(first, -1).mul(sin));
  }

  @Override
  public RoutedResidual route(
      NDManager manager, DeviceTensor hidden, DeviceTensor norm, DeviceTensor gate) {
    NDArray residual = hidden.array();
    NDArray x = normalize(residual, norm.array());
    NDArray wide = attach(manager, x);
    return new RoutedTensors(
        hidden, wide, DeviceTensor.borrowing(wide), attach(manager, linear(x, gate)));
  }

  @Override
  public RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      AttentionConfig config,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    DeviceTensor hidden =
        attend(manager, residual.hidden(), weights.attention(), config, context, cache);
    return route(manager, hidden, weights.moeNorm(), weights.gate());
  }

  @Override
  public Residual mixLater(
      NDManager manager, RoutedResidual routed, RoutingDecision decision, ExpertWeights weights) {
    try (routed) {
      return new Residual(mix(manager, routed, decision, weights, null));
    }
  }

  @Override
  public DeviceTensor settle(NDManager manager, Residual residual) {
    return residual.hidden();
  }

  @Override
  public DeviceTensor mix(
      NDManager manager,
      RoutedResidual routed,
      RoutingDecision decision,
      ExpertWeights weights,
      @Nullable NDArray routingWeights) {
    NDArray residual = routed.hidden().array();
    NDArray x = routed.wideInput();
    ExpertBatches batches = ExpertBatches.of(decision, weights.gate().size());
    NDArray tokens = kept(manager, manager.create(batches.tokens()));
    NDArray gathered = x.get(tokens);
    NDList outputs = new NDList();
    for (int i = 0; i < batches.experts().length; i++) {
      NDArray rows =
          gathered.get(new NDIndex().addSliceDim(batches.starts()[i], batches.starts()[i + 1]));
      outputs.add(feedForward(rows, weights, (int) batches.experts()[i]));
    }
    NDArray factors =
        routingWeights == null
            ? manager.create(batches.weights())
            : routingWeights
                .flatten()
                .get(kept(manager, manager.create(places(batches, decision.topK()))));
    NDArray pairs = NDArrays.concat(outputs, 0).mul(factors.expandDims(1));
    NDArray sum = sumByToken(manager, pairs, batches, decision, x.getShape());
    return own(manager, residual.add(sum));
  }

  /** Where the weight of each pair stands in the row-major {@code [tokens, topK]}. */
  private static long[] places(ExpertBatches batches, int topK) {
    long[] places = new long[batches.tokens().length];
    for (int pair = 0; pair < places.length; pair++) {
      places[pair] = batches.tokens()[pair] * topK + batches.ranks()[pair];
    }
    return places;
  }

  /** Gathers each token's pairs by rank (a row of zeros where there is none) and adds them up. */
  private static NDArray sumByToken(
      NDManager manager,
      NDArray pairs,
      ExpertBatches batches,
      RoutingDecision decision,
      Shape shape) {
    int zeros = batches.tokens().length;
    int topK = decision.topK();
    long[] pairOf = new long[decision.tokens() * topK];
    Arrays.fill(pairOf, zeros);
    long[] places = places(batches, topK);
    for (int pair = 0; pair < places.length; pair++) {
      pairOf[(int) places[pair]] = pair;
    }
    NDArray padded = pairs.concat(manager.zeros(new Shape(1, shape.get(1))), 0);
    return padded
        .get(kept(manager, manager.create(pairOf)))
        .reshape(decision.tokens(), topK, shape.get(1))
        .sum(new int[] {1});
  }

  private static NDArray feedForward(NDArray x, ExpertWeights weights, int expert) {
    // Not Activation.swish, which multiplies by a number of Java.
    NDArray linear = linear(x, weights.gate().get(expert));
    NDArray gate = Activation.sigmoid(linear).mul(linear);
    NDArray up = linear(x, weights.up().get(expert));
    return linear(gate.mul(up), weights.down().get(expert));
  }

  @Override
  public NDArray routerLogits(NDManager manager, NDArray input, DeviceTensor gate) {
    return attach(manager, linear(input, gate));
  }

  @Override
  public NDArray expertOutput(NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray x = input.duplicate();
      x.attach(scratch);
      return attach(manager, feedForward(x, weights, expert));
    }
  }

  @Override
  public NDArray finalHidden(NDManager manager, DeviceTensor hidden, DeviceTensor norm) {
    return attach(manager, normalize(hidden.array(), norm.array()));
  }

  @Override
  public NDArray head(
      NDManager manager,
      Residual residual,
      DeviceTensor norm,
      DeviceTensor weight,
      int tokens,
      int count) {
    NDArray all = residual.hidden().array();
    all = all.reshape(-1, tokens, all.getShape().get(1));
    NDArray tail = all.get(new NDIndex(":, {}:", tokens - count));
    return attach(manager, linear(normalize(tail, norm.array()), weight));
  }

  @Override
  public void reserve(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig config,
      int sequences,
      int tokens) {
    // attend() makes longer arrays of the old ones.
  }

  @Override
  public DeviceTensor copyCache(
      NDManager manager, DeviceTensor cached, NDArray rows, int length, int tokens) {
    return own(manager, cached.array().get(rows));
  }

  @Override
  public DeviceTensor newBuffer(NDManager manager, DeviceTensor like) {
    return DeviceTensor.owning(manager.zeros(like.shape(), DataType.FLOAT32));
  }

  @Override
  public void merge(
      NDManager manager, List<DeviceTensor> experts, float[][] factors, List<DeviceTensor> merged) {
    for (int row = 0; row < factors.length; row++) {
      try (NDManager scratch = manager.newSubManager()) {
        NDArray sum = scratch.zeros(merged.get(row).shape(), DataType.FLOAT32);
        for (int i = 0; i < factors[row].length; i++) {
          // Not in place: the weights may lie in a mapped file.
          NDArray part = experts.get(i).array().mul(factors[row][i]);
          part.attach(scratch);
          sum.addi(part);
        }
        sum.copyTo(merged.get(row).array());
      }
    }
  }

  /**
   * Returns a copy whose memory is PyTorch's. What Java creates lies in a buffer that is collected
   * when the array is closed, even if a graph to differentiate still needs it; and arithmetic with
   * a number creates and closes such an array.
   */
  private static NDArray kept(NDManager manager, NDArray created) {
    try (created) {
      return attach(manager, created.duplicate());
    }
  }

  private NDArray normalize(NDArray x, NDArray weight) {
    NDArray variance = x.square().mean(new int[] {-1}, true);
    return x.div(variance.add((float) epsilon).sqrt()).mul(weight);
  }

  private static NDArray linear(NDArray x, DeviceTensor weight) {
    return Linear.linear(x, weight.array()).singletonOrThrow();
  }

  private static DeviceTensor own(NDManager manager, NDArray array) {
    return DeviceTensor.owning(attach(manager, array));
  }

  private static NDArray attach(NDManager manager, NDArray array) {
    array.attach(manager);
    return array;
  }
}
