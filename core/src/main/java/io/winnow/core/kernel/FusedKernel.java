package io.winnow.core.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.RoutingDecision;
import io.winnow.core.checkpoint.TensorType;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations as TorchScript methods, in float32, float16 and bfloat16. For inference
 * only. Thread-safe. Not part of the API.
 */
public final class FusedKernel implements Kernel {
  private static final String SOURCE = "decoder.py";
  private static final DeviceTensor[] NO_TENSORS = {};

  private final TorchScriptModule module;
  private final int scalarType;
  private final IValue noTensors;

  /**
   * Compiles the methods, in about 0.1 seconds.
   *
   * @param parent the manager that closes them
   * @param type the type of the weights they will get
   * @throws io.winnow.core.InvalidInputException if models do not compute in this type
   */
  public FusedKernel(NDManager parent, DataType type) {
    scalarType = ScalarTypes.of(type);
    module = TorchScriptModule.load(parent, SOURCE);
    noTensors = DeviceTensor.list(NO_TENSORS);
    parent.attachInternal(noTensors.getUid(), noTensors);
  }

  TorchScriptModule module() {
    return module;
  }

  @Override
  public DeviceTensor embed(NDManager manager, DeviceTensor table, NDArray ids) {
    try (DeviceTensor tokens = DeviceTensor.borrowing(ids)) {
      return module.runForTensor(manager, "embed", table, tokens);
    }
  }

  @Override
  public AttentionContext prepare(
      NDManager manager,
      AttentionConfig config,
      NDArray inverseFrequencies,
      int tokens,
      int past,
      long[] padding,
      int paddingStart) {
    DeviceTensor[] rotary;
    try (DeviceTensor positions =
            DeviceTensor.owning(
                AttentionContext.positions(manager, tokens, past, padding, paddingStart));
        DeviceTensor frequencies = DeviceTensor.borrowing(inverseFrequencies)) {
      rotary = module.runForTensors(manager, "rotary", positions, frequencies);
    }
    NDArray mask =
        AttentionContext.mask(
            manager, tokens, past, padding, paddingStart, config.slidingWindow(), false);
    return new AttentionContext(
        rotary[0], rotary[1], mask == null ? null : convert(manager, mask), past);
  }

  private DeviceTensor convert(NDManager manager, NDArray mask) {
    if (scalarType == ScalarTypes.of(DataType.FLOAT32)) {
      // Converted, it would be the same memory, which belongs to the array's Java object.
      return DeviceTensor.owning(mask);
    }
    try (DeviceTensor wide = DeviceTensor.owning(mask)) {
      return module.runForTensor(
          manager, "convert", wide, ScalarTypes.deviceName(manager.getDevice()), (long) scalarType);
    }
  }

  @Override
  public DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      TensorList weights,
      AttentionConfig config,
      AttentionContext context,
      double epsilon,
      KeyValueCache.@Nullable Layer cache) {
    TensorList mask = context.maskList();
    TensorList keysAndValues = cache == null ? null : cache.list();
    return module.runForTensor(
        manager,
        "attend",
        hidden,
        weights.value(),
        context.rotary().value(),
        mask == null ? noTensors : mask.value(),
        keysAndValues == null ? noTensors : keysAndValues.value(),
        (long) context.past(),
        (long) config.heads(),
        (long) config.keyValueHeads(),
        config.scale(),
        epsilon);
  }

  @Override
  public RouterOutput route(
      NDManager manager,
      DeviceTensor hidden,
      DeviceTensor norm,
      double epsilon,
      DeviceTensor gate) {
    DeviceTensor[] results =
        module.runForTensors(manager, "route", hidden, norm, epsilon, gate, (long) scalarType);
    return new RouterOutput(results[0].array(), results[1], results[2].array());
  }

  @Override
  public DeviceTensor mix(
      NDManager manager,
      DeviceTensor hidden,
      DeviceTensor input,
      RoutingDecision decision,
      ExpertWeights weights,
      @Nullable NDArray routingWeights) {
    if (routingWeights != null) {
      throw new IllegalArgumentException("The fused kernel cannot be differentiated");
    }
    ExpertBatches batches = ExpertBatches.of(decision, weights.gate().size());
    IValue gate = weights.gate().value();
    IValue up = weights.up().value();
    IValue down = weights.down().value();
    if (decision.tokens() == 1) {
      double[] factors = new double[batches.weights().length];
      for (int i = 0; i < factors.length; i++) {
        factors[i] = batches.weights()[i];
      }
      return module.runForTensor(
          manager, "mix_one", hidden, input, batches.experts(), factors, gate, up, down);
    }
    try (DeviceTensor tokens = DeviceTensor.owning(manager.create(batches.tokens()));
        DeviceTensor factors = DeviceTensor.owning(manager.create(batches.weights()))) {
      return module.runForTensor(
          manager,
          "mix",
          hidden,
          input,
          batches.experts(),
          batches.starts(),
          tokens,
          factors,
          gate,
          up,
          down);
    }
  }

  @Override
  public NDArray routerLogits(NDManager manager, NDArray input, DeviceTensor gate) {
    try (DeviceTensor x = DeviceTensor.borrowing(input)) {
      return module.runForTensor(manager, "router_logits", x, gate).array();
    }
  }

  @Override
  public NDArray expertOutput(NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    try (DeviceTensor x = DeviceTensor.borrowing(input)) {
      return module
          .runForTensor(
              manager,
              "expert_output",
              x,
              weights.gate().get(expert),
              weights.up().get(expert),
              weights.down().get(expert))
          .array();
    }
  }

  @Override
  public NDArray finalHidden(
      NDManager manager, DeviceTensor hidden, DeviceTensor norm, double epsilon) {
    return module.runForTensor(manager, "normalize", hidden, norm, epsilon).array();
  }

  @Override
  public NDArray head(
      NDManager manager,
      DeviceTensor hidden,
      DeviceTensor norm,
      double epsilon,
      DeviceTensor weight,
      int count) {
    return module
        .runForTensor(manager, "head", hidden, norm, epsilon, weight, (long) count)
        .array();
  }

  @Override
  public void reserve(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig config,
      int sequences,
      int tokens) {
    int needed = cache.length() + tokens;
    if (needed <= cache.capacity()) {
      return;
    }
    long capacity = KeyValueCache.roundUp(needed);
    DeviceTensor keys = cache.keys();
    DeviceTensor values = cache.values();
    if (keys == null || values == null) {
      cache.set(
          empty(cache, like, config, sequences, capacity),
          empty(cache, like, config, sequences, capacity));
    } else {
      cache.set(
          module.runForTensor(cache.manager(), "grow", keys, capacity),
          module.runForTensor(cache.manager(), "grow", values, capacity));
    }
  }

  private DeviceTensor empty(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig config,
      int sequences,
      long capacity) {
    return module.runForTensor(
        cache.manager(),
        "empty_cache",
        like,
        (long) sequences,
        (long) config.keyValueHeads(),
        capacity,
        (long) config.headSize());
  }

  @Override
  public DeviceTensor copyCache(
      NDManager manager, DeviceTensor cached, NDArray rows, int length, int tokens) {
    try (DeviceTensor index = DeviceTensor.borrowing(rows)) {
      return module.runForTensor(
          manager, "copy_cache", cached, index, (long) length, (long) (length + tokens));
    }
  }

  /**
   * Fills an empty cache with copies of keys and values.
   *
   * @param keysAndValues keys, then values of each layer, {@code [sequences, keyValueHeads, length,
   *     headSize]} float32
   */
  public void fill(KeyValueCache cache, NDList keysAndValues) {
    for (int i = 0; i < keysAndValues.size(); i += 2) {
      cache
          .layer(i / 2)
          .set(
              copy(cache.manager(), keysAndValues.get(i)),
              copy(cache.manager(), keysAndValues.get(i + 1)));
    }
    cache.advance((int) keysAndValues.head().getShape().get(2));
  }

  private DeviceTensor copy(NDManager manager, NDArray array) {
    try (DeviceTensor own = DeviceTensor.owning(array.duplicate())) {
      String device = ScalarTypes.deviceName(manager.getDevice());
      return module.runForTensor(manager, "convert", own, device, (long) scalarType);
    }
  }

  /**
   * Returns copies of what a cache holds, in the form that {@link #fill} takes; they belong to
   * {@code manager}.
   */
  public NDList contents(NDManager manager, KeyValueCache cache) {
    NDList contents = new NDList();
    for (int i = 0; i < cache.numLayers(); i++) {
      contents.add(contents(manager, cache.layer(i).keys(), cache.length()));
      contents.add(contents(manager, cache.layer(i).values(), cache.length()));
    }
    return contents;
  }

  private NDArray contents(NDManager manager, @Nullable DeviceTensor tensor, int length) {
    if (tensor == null) {
      throw new IllegalStateException("The cache is empty");
    }
    try (NDManager scratch = manager.newSubManager()) {
      NDArray filled = tensor.rawArray().get(new NDIndex(":, :, :{}", length));
      filled.attach(scratch);
      try (DeviceTensor narrow = DeviceTensor.borrowing(filled);
          DeviceTensor wide =
              module.runForTensor(
                  scratch,
                  "convert",
                  narrow,
                  ScalarTypes.deviceName(manager.getDevice()),
                  (long) ScalarTypes.of(DataType.FLOAT32))) {
        // What was converted may be a view of the cache, and is read-only outside of inference.
        NDArray copy = wide.array().duplicate();
        copy.attach(manager);
        return copy;
      }
    }
  }

  /**
   * Returns an array's elements in the type of a checkpoint, little-endian. The memory belongs to
   * {@code manager} or the array itself, and must outlive the buffer.
   *
   * @param array float32
   */
  public ByteBuffer bytes(NDManager manager, NDArray array, TensorType type) {
    try (DeviceTensor wide = DeviceTensor.borrowing(array)) {
      int scalar = ScalarTypes.of(ScalarTypes.dataTypeOf(array.getName(), type));
      return module
          .runForTensor(manager, "convert", wide, "cpu", (long) scalar)
          .rawArray()
          .toByteBuffer(true);
    }
  }
}
