package io.winnow.core.internal.kernel;

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
import io.winnow.core.internal.form.AttentionConfig;
import io.winnow.core.internal.form.AttentionPart;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations as plain NDArray operations in float32: what {@link FusedKernel} is
 * compared with, and what training differentiates. Thread-safe. Not part of the API.
 *
 * <p>Intermediate results belong to the manager that is passed in, and go with it.
 */
public final class ReferenceKernel implements Kernel {
  private final KernelConfig config;

  /** Creates a kernel. */
  public ReferenceKernel(KernelConfig config) {
    this.config = config;
  }

  @Override
  public Residual embed(NDManager manager, DeviceTensor table, NDArray ids) {
    NDArray kept = kept(manager, ids.duplicate());
    NDArray rows =
        Embedding.embedding(kept.flatten(), table.array(), SparseFormat.DENSE).singletonOrThrow();
    return new Residual(own(manager, times(manager, rows, config.embeddingFactor())));
  }

  @Override
  public AttentionContext prepare(
      NDManager manager,
      Collection<AttentionConfig> layers,
      RotaryTable table,
      AttentionConfig.@Nullable Temperature temperature,
      int tokens,
      int past,
      long[] padding,
      int paddingStart) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray positions = AttentionContext.positions(scratch, tokens, past, padding, paddingStart);
      NDArray angles =
          positions.toType(DataType.FLOAT32, false).expandDims(-1).mul(table.inverseFrequencies());
      angles = table.config().interleaved() ? angles.repeat(2, 2) : angles.concat(angles, -1);
      angles = angles.expandDims(1);
      double factor = table.config().factor();
      List<DeviceTensor> positional = new ArrayList<>();
      positional.add(own(manager, times(scratch, angles.cos(), factor)));
      positional.add(own(manager, times(scratch, angles.sin(), factor)));
      if (temperature != null) {
        NDArray factors =
            AttentionContext.temperatures(
                scratch, temperature, tokens, past, padding, paddingStart);
        positional.add(own(manager, factors));
      }
      Map<AttentionConfig.Visibility, TensorList> masks = new HashMap<>();
      for (AttentionConfig layer : layers) {
        AttentionConfig.Visibility visibility = layer.visibility();
        if (!masks.containsKey(visibility)) {
          NDArray mask =
              AttentionContext.mask(
                  scratch, tokens, past, padding, paddingStart, visibility, tokens > 1);
          if (mask != null) {
            masks.put(visibility, TensorList.of(own(manager, mask)));
          }
        }
      }
      return new AttentionContext(new TensorList(positional), masks, padding.length, tokens, null);
    }
  }

  @Override
  public DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    NDArray residual = hidden.array();
    NDArray x = normalize(residual, weights.get(AttentionPart.NORM).array());
    NDArray attended =
        weights.config().latent() == null
            ? attendGrouped(manager, x, weights, context, cache)
            : attendLatent(manager, x, weights, context, cache);
    NDArray added =
        biased(
            linear(attended, weights.get(AttentionPart.OUTPUT)),
            weights.find(AttentionPart.OUTPUT_BIAS));
    return own(manager, residual.add(times(manager, added, config.residualFactor())));
  }

  private NDArray attendGrouped(
      NDManager manager,
      NDArray x,
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    AttentionConfig form = weights.config();
    NDArray query =
        biased(linear(x, weights.get(AttentionPart.QUERY)), weights.find(AttentionPart.QUERY_BIAS));
    NDArray key =
        biased(linear(x, weights.get(AttentionPart.KEY)), weights.find(AttentionPart.KEY_BIAS));
    NDArray value =
        biased(linear(x, weights.get(AttentionPart.VALUE)), weights.find(AttentionPart.VALUE_BIAS));
    if (form.norm() == AttentionConfig.QueryKeyNorm.PROJECTION) {
      query = rootMeanSquare(query, weights.get(AttentionPart.QUERY_NORM), config.epsilon());
      key = rootMeanSquare(key, weights.get(AttentionPart.KEY_NORM), config.epsilon());
    }
    if (form.clip() > 0) {
      query = query.clip(-form.clip(), form.clip());
      key = key.clip(-form.clip(), form.clip());
      value = value.clip(-form.clip(), form.clip());
    }
    query = heads(query, context, form.heads());
    key = heads(key, context, form.keyValueHeads());
    value = heads(value, context, form.keyValueHeads());
    if (form.norm() == AttentionConfig.QueryKeyNorm.HEAD) {
      query = rootMeanSquare(query, weights.get(AttentionPart.QUERY_NORM), config.epsilon());
      key = rootMeanSquare(key, weights.get(AttentionPart.KEY_NORM), config.epsilon());
    }
    query = rotate(query, form, context);
    key = rotate(key, form, context);
    if (form.norm() == AttentionConfig.QueryKeyNorm.ROTATED) {
      query = rootMeanSquare(query, null, config.epsilon());
      key = rootMeanSquare(key, null, config.epsilon());
    }
    if (form.temperature()) {
      query = query.mul(context.temperature().array());
    }
    NDList cached = cached(manager, cache, key, value);
    int groups = form.heads() / form.keyValueHeads();
    NDArray scores =
        scores(manager, query, repeatHeads(cached.get(0), groups), form.scale(), context, form);
    DeviceTensor sinks = weights.find(AttentionPart.SINKS);
    NDArray shares;
    if (sinks == null) {
      shares = scores.softmax(-1);
    } else {
      Shape shape = scores.getShape();
      NDArray column =
          sinks
              .array()
              .reshape(1, form.heads(), 1, 1)
              .broadcast(shape.get(0), shape.get(1), shape.get(2), 1);
      shares =
          attach(manager, scores.concat(attach(manager, column), -1).softmax(-1))
              .get(new NDIndex("..., :{}", shape.get(3)));
    }
    return joined(shares.matMul(repeatHeads(cached.get(1), groups)));
  }

  private NDArray attendLatent(
      NDManager manager,
      NDArray x,
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    AttentionConfig form = weights.config();
    AttentionConfig.Latent sizes = form.latent();
    if (sizes == null) {
      throw new IllegalStateException("The attention is not latent");
    }
    double epsilon = AttentionWeights.LATENT_EPSILON;
    NDArray query;
    if (sizes.queryRank() == 0) {
      query = linear(x, weights.get(AttentionPart.QUERY));
    } else {
      NDArray down =
          biased(
              linear(x, weights.get(AttentionPart.QUERY_DOWN)),
              weights.find(AttentionPart.QUERY_DOWN_BIAS));
      query =
          linear(
              rootMeanSquare(down, weights.get(AttentionPart.QUERY_DOWN_NORM), epsilon),
              weights.get(AttentionPart.QUERY_UP));
    }
    query = heads(query, context, form.heads());
    NDArray plain = query.get(new NDIndex("..., :{}", sizes.plainSize()));
    NDArray rotated = rotate(query.get(new NDIndex("..., {}:", sizes.plainSize())), form, context);
    query = plain.concat(rotated, -1);
    NDArray down =
        biased(
            linear(x, weights.get(AttentionPart.LATENT)), weights.find(AttentionPart.LATENT_BIAS));
    NDArray latent =
        rootMeanSquare(
            down.get(new NDIndex("..., :{}", sizes.rank())),
            weights.get(AttentionPart.LATENT_NORM),
            epsilon);
    NDArray key = heads(down.get(new NDIndex("..., {}:", sizes.rank())), context, 1);
    NDList cached = cached(manager, cache, rotate(key, form, context), heads(latent, context, 1));
    NDArray both = linear(cached.get(1).squeeze(1), weights.get(AttentionPart.LATENT_UP));
    both =
        both.reshape(
                both.getShape().get(0),
                both.getShape().get(1),
                form.heads(),
                (long) sizes.plainSize() + sizes.valueSize())
            .transpose(0, 2, 1, 3);
    NDArray keys =
        both.get(new NDIndex("..., :{}", sizes.plainSize()))
            .concat(cached.get(0).repeat(1, form.heads()), -1);
    NDArray values = both.get(new NDIndex("..., {}:", sizes.plainSize()));
    NDArray scores = scores(manager, query, keys, form.scale(), context, form);
    return joined(scores.softmax(-1).matMul(values));
  }

  /** Adds to a cache and returns keys and values of all tokens. */
  private static NDList cached(
      NDManager manager, KeyValueCache.@Nullable Layer cache, NDArray key, NDArray value) {
    if (cache == null) {
      return new NDList(key, value);
    }
    NDArray allKeys = key;
    NDArray allValues = value;
    DeviceTensor keys = cache.keys();
    DeviceTensor values = cache.values();
    if (keys != null && values != null) {
      // Results belong to their first operand's manager, here the cache's.
      allKeys = attach(manager, keys.array().concat(key, 2));
      allValues = attach(manager, values.array().concat(value, 2));
    }
    cache.set(DeviceTensor.owning(allKeys.duplicate()), DeviceTensor.owning(allValues.duplicate()));
    return new NDList(allKeys, allValues);
  }

  private static NDArray scores(
      NDManager manager,
      NDArray query,
      NDArray key,
      double scale,
      AttentionContext context,
      AttentionConfig form) {
    NDArray scores =
        query.matMul(key.transpose(0, 1, 3, 2)).mul(kept(manager, manager.create((float) scale)));
    DeviceTensor mask = context.mask(form.visibility());
    return mask == null ? scores : scores.add(mask.array());
  }

  /** Returns heads behind each other: {@code [sequences * tokens, heads * headSize]}. */
  private static NDArray joined(NDArray heads) {
    Shape shape = heads.getShape();
    return heads.transpose(0, 2, 1, 3).reshape(shape.get(0) * shape.get(2), -1);
  }

  private static NDArray heads(NDArray x, AttentionContext context, int heads) {
    return x.reshape(context.sequences(), context.tokens(), heads, -1).transpose(0, 2, 1, 3);
  }

  private static NDArray repeatHeads(NDArray x, int times) {
    return times == 1 ? x : x.repeat(1, times);
  }

  private static NDArray rotate(NDArray x, AttentionConfig form, AttentionContext context) {
    int size = form.rotarySize();
    if (size == 0) {
      return x;
    }
    NDArray part = x.get(new NDIndex("..., :{}", size));
    NDArray turned;
    if (form.interleaved()) {
      NDArray pairs = part.reshape(part.getShape().slice(0, 3).add(size / 2, 2));
      NDArray first = pairs.get(new NDIndex("..., :1"));
      NDArray second = pairs.get(new NDIndex("..., 1:"));
      turned = second.neg().concat(first, -1).reshape(part.getShape());
    } else {
      NDArray first = part.get(new NDIndex("..., :{}", size / 2));
      NDArray second = part.get(new NDIndex("..., {}:", size / 2));
      turned = second.neg().concat(first, -1);
    }
    NDArray rotated = part.mul(context.cos().array()).add(turned.mul(context.sin().array()));
    return size == x.getShape().get(3)
        ? rotated
        : rotated.concat(x.get(new NDIndex("..., {}:", size)), -1);
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
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    DeviceTensor hidden = attend(manager, residual.hidden(), weights.attention(), context, cache);
    return route(manager, hidden, weights.moeNorm(), weights.gate());
  }

  @Override
  public Residual mixLater(NDManager manager, RoutedResidual routed, ExpertMix mix) {
    try (routed) {
      return new Residual(mix(manager, routed, mix, null));
    }
  }

  @Override
  public DeviceTensor settle(NDManager manager, Residual residual) {
    return residual.hidden();
  }

  @Override
  public DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, @Nullable NDArray routingWeights) {
    NDArray residual = routed.hidden().array();
    NDArray x = routed.wideInput();
    ExpertWeights weights = mix.weights();
    RoutingDecision decision = mix.decision();
    NDArray added = null;
    if (decision != null) {
      ExpertMix ofRouted = new ExpertMix(decision, weights, null, mix.inputFactors());
      added = routedSum(manager, x, ofRouted, decision, routingWeights);
    }
    float[] shared = mix.shared();
    if (shared != null) {
      NDArray factors = kept(manager, manager.create(shared));
      NDArray ofShared = feedForward(x, weights, mix.routed()).mul(factors.expandDims(1));
      added = added == null ? ofShared : added.add(ofShared);
    }
    if (added == null) {
      throw new IllegalStateException("A layer needs routed experts or a shared one");
    }
    return own(manager, residual.add(times(manager, added, config.residualFactor())));
  }

  private static NDArray routedSum(
      NDManager manager,
      NDArray x,
      ExpertMix mix,
      RoutingDecision decision,
      @Nullable NDArray routingWeights) {
    ExpertWeights weights = mix.weights();
    ExpertBatches batches = ExpertBatches.of(mix, 1);
    NDArray tokens = kept(manager, manager.create(batches.tokens()));
    NDArray gathered = x.get(tokens);
    float[] inputs = batches.inputs();
    if (inputs != null) {
      gathered = gathered.mul(kept(manager, manager.create(inputs)).expandDims(1));
    }
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
    return sumByToken(manager, pairs, batches, decision, x.getShape());
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
    NDArray output = linear(activate(x, weights, expert), weights.down().get(expert));
    DeviceTensor up = weights.up().get(expert);
    if (up.shape().dimension() == 2) {
      return output;
    }
    long width = weights.gate().get(expert).shape().get(0);
    return output.add(up.array().flatten().get(new NDIndex("{}:", width)));
  }

  /** What an expert's last product multiplies. */
  private static NDArray activate(NDArray x, ExpertWeights weights, int expert) {
    // Not Activation.swish, which multiplies by a number of Java.
    NDArray linear = linear(x, weights.gate().get(expert));
    DeviceTensor up = weights.up().get(expert);
    if (up.shape().dimension() == 1) {
      return clamped(linear, up.array());
    }
    if (up.shape().dimension() == 3) {
      return biasedActivation(linear, up.array().flatten());
    }
    NDArray gate = Activation.sigmoid(linear).mul(linear);
    return gate.mul(linear(x, up));
  }

  /** The same of a dense or shared expert with biases. */
  private static NDArray biasedActivation(NDArray gateAndUp, NDArray biases) {
    long width = gateAndUp.getShape().get(1);
    NDList halves = gateAndUp.add(biases.get(new NDIndex(":{}", width))).split(2, 1);
    NDArray gate = halves.get(0);
    return gate.mul(Activation.sigmoid(gate)).mul(halves.get(1));
  }

  /** The same of an expert of gpt-oss. */
  private static NDArray clamped(NDArray gateAndUp, NDArray biases) {
    long width = gateAndUp.getShape().get(1);
    NDArray pairs = gateAndUp.add(biases.get(new NDIndex(":{}", width))).reshape(-1, width / 2, 2);
    NDArray gate = pairs.get(new NDIndex("..., 0")).minimum(7f);
    NDArray up = pairs.get(new NDIndex("..., 1")).clip(-7f, 7f).add(1f);
    return gate.mul(Activation.sigmoid(gate.mul(1.702f))).mul(up);
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
  public NDArray expertIntermediate(
      NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray x = input.duplicate();
      x.attach(scratch);
      return attach(manager, activate(x, weights, expert));
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
      @Nullable TensorList bias,
      int tokens,
      int count) {
    NDArray all = residual.hidden().array();
    all = all.reshape(-1, tokens, all.getShape().get(1));
    NDArray tail = all.get(new NDIndex(":, {}:", tokens - count));
    NDArray logits = linear(normalize(tail, norm.array()), weight);
    logits = biased(logits, bias == null ? null : bias.get(0));
    return attach(manager, times(manager, logits, 1 / config.logitsDivisor()));
  }

  @Override
  public void reserve(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig attention,
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
    if (!config.layerNorm()) {
      NDArray variance = x.square().mean(new int[] {-1}, true);
      return x.div(variance.add((float) config.epsilon()).sqrt()).mul(weight);
    }
    NDArray centered = x.sub(x.mean(new int[] {-1}, true));
    NDArray variance = centered.square().mean(new int[] {-1}, true);
    return centered
        .div(variance.add((float) config.epsilon()).sqrt())
        .mul(weight.get(0))
        .add(weight.get(1));
  }

  private static NDArray rootMeanSquare(NDArray x, @Nullable DeviceTensor weight, double epsilon) {
    NDArray variance = x.square().mean(new int[] {-1}, true);
    NDArray normalized = x.div(variance.add((float) epsilon).sqrt());
    return weight == null ? normalized : normalized.mul(weight.array());
  }

  private static NDArray biased(NDArray x, @Nullable DeviceTensor bias) {
    return bias == null ? x : x.add(bias.array());
  }

  private static NDArray times(NDManager manager, NDArray x, double factor) {
    return factor == 1 ? x : x.mul(kept(manager, manager.create((float) factor)));
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
