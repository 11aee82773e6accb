package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.pytorch.jni.IValue;
import com.google.common.collect.ObjectArrays;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.form.AttentionConfig;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.ScalarTypes;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations as TorchScript methods, in float32, float16 and bfloat16. For inference
 * only. Thread-safe. Not part of the API.
 */
public final class FusedKernel implements Kernel {
  private static final String SOURCE = "decoder.py";
  private static final DeviceTensor[] NO_TENSORS = {};

  /** Elements in float32 that merging works on at a time: on the CPU what its cache holds. */
  private static final long CPU_PIECE = 1L << 20;

  private static final long GPU_PIECE = 16L << 20;

  /** Elements of experts' outputs that are kept until a token's are summed; 256 MB. */
  private static final long OUTPUT_ELEMENTS = 64L << 20;

  private final TorchScriptModule module;
  private final int scalarType;
  private final KernelConfig config;
  private final long outputElements;
  private final IValue noTensors;
  private final IValue noNumbers;
  private final IValue constants;

  /**
   * Compiles the methods, in about 0.1 seconds.
   *
   * @param parent the manager that closes them
   * @param type the type of the weights they will get
   * @throws io.winnow.core.InvalidInputException if models do not compute in this type
   */
  public FusedKernel(NDManager parent, DataType type, KernelConfig config) {
    this(parent, type, config, OUTPUT_ELEMENTS);
  }

  FusedKernel(NDManager parent, DataType type, KernelConfig config, long outputElements) {
    this.config = config;
    this.outputElements = outputElements;
    scalarType = ScalarTypes.of(type);
    module = TorchScriptModule.load(parent, SOURCE);
    noTensors = DeviceTensor.list(NO_TENSORS);
    parent.attachInternal(noTensors.getUid(), noTensors);
    noNumbers = IValue.listFrom(new double[0]);
    parent.attachInternal(noNumbers.getUid(), noNumbers);
    float[] length = {(float) Math.sqrt(config.hiddenSize() * config.epsilon())};
    DeviceTensor least = DeviceTensor.owning(parent.create(length)).outliveScopes();
    // The kernel's source tells a layer norm by a second constant.
    constants = config.layerNorm() ? DeviceTensor.list(least, least) : DeviceTensor.list(least);
    parent.attachInternal(constants.getUid(), constants);
  }

  TorchScriptModule module() {
    return module;
  }

  @Override
  public Residual embed(NDManager manager, DeviceTensor table, NDArray ids) {
    try (DeviceTensor tokens = DeviceTensor.borrowing(ids)) {
      return new Residual(
          module.runForTensor(manager, "embed", table, tokens, config.embeddingFactor()));
    }
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
    DeviceTensor factors = table.factors(module, past + tokens);
    DeviceTensor[] rotary;
    if (AttentionContext.isPadded(padding)) {
      try (DeviceTensor positions =
          DeviceTensor.owning(
              AttentionContext.positions(manager, tokens, past, padding, paddingStart))) {
        rotary = module.runForTensors(manager, "rotary", factors, positions);
      }
    } else {
      rotary = module.runForTensors(manager, "rotary_range", factors, (long) past, (long) tokens);
    }
    List<DeviceTensor> positional = new ArrayList<>(Arrays.asList(rotary));
    if (temperature != null) {
      positional.add(
          DeviceTensor.owning(
              AttentionContext.temperatures(
                  manager, temperature, tokens, past, padding, paddingStart)));
    }
    AttentionConfig first = layers.iterator().next();
    if (tokens > 1 && layers.stream().anyMatch(AttentionConfig::isPlain)) {
      long heads = first.heads() + first.keyValueHeads();
      positional.addAll(
          Arrays.asList(module.runForTensors(manager, "rotary_rows", rotary[0], rotary[1], heads)));
    }
    Map<AttentionConfig.Visibility, TensorList> masks = new HashMap<>();
    for (AttentionConfig layer : layers) {
      AttentionConfig.Visibility visibility = layer.visibility();
      if (!masks.containsKey(visibility)) {
        NDArray mask =
            AttentionContext.mask(manager, tokens, past, padding, paddingStart, visibility, false);
        if (mask != null) {
          masks.put(visibility, TensorList.of(convert(manager, mask)));
        }
      }
    }
    IValue sizes =
        IValue.listFrom(padding.length, tokens, past, first.heads(), first.keyValueHeads());
    manager.attachInternal(sizes.getUid(), sizes);
    return new AttentionContext(new TensorList(positional), masks, padding.length, tokens, sizes);
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
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    return module.runForTensor(
        manager, "attend", ObjectArrays.concat(hidden, arguments(weights, context, cache)));
  }

  @Override
  public DeviceTensor attendLast(
      NDManager manager,
      DeviceTensor hidden,
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache,
      int count) {
    return module.runForTensor(
        manager,
        "attend_last",
        ObjectArrays.concat(hidden, arguments(weights, context, cache, (long) count)));
  }

  /** Returns what every method with attention takes behind the residual, and what follows that. */
  private Object[] arguments(
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache,
      Object... rest) {
    AttentionWeights.Fused fused = weights.fused(config);
    Object[] attention = {
      fused.matrices().transposed(),
      context.rotary().value(),
      listOf(context.maskList(weights.config().visibility())),
      listOf(cache == null ? null : cache.list()),
      context.sizes(),
      fused.form(),
      listOf(fused.extras()),
      fused.numbers(),
      constants
    };
    return ObjectArrays.concat(attention, rest, Object.class);
  }

  private IValue listOf(@Nullable TensorList tensors) {
    return tensors == null ? noTensors : tensors.value();
  }

  @Override
  public RoutedResidual route(
      NDManager manager, DeviceTensor hidden, DeviceTensor norm, DeviceTensor gate) {
    try (IValue result = module.run("route", hidden, norm, gate, scalarType, constants)) {
      return new RoutedState(manager, result);
    }
  }

  @Override
  public RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    Object[] arguments =
        residual.followedBy(
            arguments(
                weights.attention(),
                context,
                cache,
                weights.moeNorm(),
                weights.gate(),
                scalarType));
    try (IValue result =
        module.run(residual.isPending() ? "mix_attend_and_route" : "attend_and_route", arguments)) {
      return new RoutedState(manager, result);
    }
  }

  @Override
  public Residual mixLater(NDManager manager, RoutedResidual routed, ExpertMix mix) {
    if (mix.tokens() == 1 && routed instanceof RoutedState state) {
      ExpertBatches batches = ExpertBatches.of(mix, (float) config.residualFactor());
      IValue inputs = noNumbers;
      float[] inputFactors = batches.inputs();
      if (inputFactors != null) {
        inputs = IValue.listFrom(wide(inputFactors));
        manager.attachInternal(inputs.getUid(), inputs);
      }
      return new Residual(
          new Residual.Mixture(
              state, batches.experts(), wide(batches.weights()), inputs, mix.weights()));
    }
    try (routed) {
      return new Residual(mix(manager, routed, mix, null));
    }
  }

  private static double[] wide(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  @Override
  public DeviceTensor settle(NDManager manager, Residual residual) {
    return residual.isPending()
        ? module.runForTensor(manager, "mix_one", residual.followedBy())
        : residual.hidden();
  }

  @Override
  public DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, @Nullable NDArray routingWeights) {
    if (routingWeights != null) {
      throw new IllegalArgumentException("The fused kernel cannot be differentiated");
    }
    RoutingDecision decision = mix.decision();
    int perToken = (decision == null ? 0 : decision.topK()) + (mix.shared() == null ? 0 : 1);
    long most = Math.max(1, outputElements / ((long) perToken * config.hiddenSize()));
    int tokens = mix.tokens();
    if (tokens <= most) {
      return mix(manager, routed, mix, 0, tokens);
    }
    try (NDManager scratch = manager.newSubManager()) {
      List<DeviceTensor> parts = new ArrayList<>();
      for (int first = 0; first < tokens; first += (int) most) {
        int end = (int) Math.min(tokens, first + most);
        parts.add(mix(scratch, routed, mix, first, end));
      }
      try (IValue list = DeviceTensor.list(parts.toArray(DeviceTensor[]::new))) {
        return module.runForTensor(manager, "join", list);
      }
    }
  }

  /** Returns the new residual of the tokens from {@code first} to {@code end}, exclusive. */
  private DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, int first, int end) {
    ExpertBatches batches = ExpertBatches.of(mix, (float) config.residualFactor(), first, end);
    ExpertBatches.ByToken sums = batches.byToken(first, end);
    ExpertWeights weights = mix.weights();
    float[] inputFactors = batches.inputs();
    try (NDManager scratch = manager.newSubManager()) {
      TensorList inputs =
          inputFactors == null
              ? null
              : TensorList.of(DeviceTensor.owning(scratch.create(inputFactors)));
      return module.runForTensor(
          manager,
          "mix",
          routed.hidden(),
          routed.input(),
          (long) first,
          batches.experts(),
          batches.starts(),
          DeviceTensor.owning(scratch.create(batches.tokens())),
          DeviceTensor.owning(scratch.create(sums.pairs())),
          DeviceTensor.owning(scratch.create(sums.starts())),
          DeviceTensor.owning(scratch.create(sums.weights())),
          listOf(inputs),
          weights.gate().transposed(),
          weights.up().transposed(),
          weights.down().transposed());
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
  public NDArray expertIntermediate(
      NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    try (DeviceTensor x = DeviceTensor.borrowing(input)) {
      return module
          .runForTensor(
              manager,
              "expert_intermediate",
              x,
              weights.gate().get(expert),
              weights.up().get(expert))
          .array();
    }
  }

  @Override
  public NDArray finalHidden(NDManager manager, DeviceTensor hidden, DeviceTensor norm) {
    return module.runForTensor(manager, "normalize", hidden, norm, constants).array();
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
    double divisor = config.logitsDivisor();
    DeviceTensor logits =
        residual.isPending()
            ? module.runForTensor(
                manager,
                "mix_and_head",
                residual.followedBy(norm, weight, listOf(bias), divisor, constants))
            : module.runForTensor(
                manager,
                "head",
                residual.hidden(),
                norm,
                weight,
                listOf(bias),
                tokens,
                count,
                divisor,
                constants);
    return logits.array();
  }

  @Override
  public void reserve(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig attention,
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
          empty(cache, like, attention, sequences, capacity, attention.cachedKeySize()),
          empty(cache, like, attention, sequences, capacity, attention.cachedValueSize()));
    } else {
      cache.set(
          module.runForTensor(cache.manager(), "grow", keys, capacity),
          module.runForTensor(cache.manager(), "grow", values, capacity));
    }
  }

  private DeviceTensor empty(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig attention,
      int sequences,
      long capacity,
      int headSize) {
    return module.runForTensor(
        cache.manager(),
        "empty_cache",
        like,
        (long) sequences,
        (long) attention.cachedHeads(),
        capacity,
        (long) headSize);
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
   * @param keysAndValues keys, then values of each layer, {@code [sequences, heads, length,
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

  /**
   * Returns a tensor's elements in the type of a checkpoint, like {@link #bytes(NDManager, NDArray,
   * TensorType)}; if it is of that type on the CPU, they are its own memory.
   *
   * @param name for messages
   */
  public ByteBuffer bytes(NDManager manager, String name, DeviceTensor tensor, TensorType type) {
    int scalar = ScalarTypes.of(ScalarTypes.dataTypeOf(name, type));
    return module
        .runForTensor(manager, "convert", tensor, "cpu", (long) scalar)
        .rawArray()
        .toByteBuffer(true);
  }

  @Override
  public DeviceTensor newBuffer(NDManager manager, DeviceTensor like) {
    return module.runForTensor(manager, "empty_like", like);
  }

  @Override
  public void merge(
      NDManager manager, List<DeviceTensor> experts, float[][] factors, List<DeviceTensor> merged) {
    try (DeviceTensor weights = DeviceTensor.owning(manager.create(factors));
        IValue sources = DeviceTensor.list(experts.toArray(DeviceTensor[]::new));
        IValue targets = DeviceTensor.list(merged.toArray(DeviceTensor[]::new))) {
      long piece = manager.getDevice().isGpu() ? GPU_PIECE : CPU_PIECE;
      module
          .run(
              "merge_experts",
              weights,
              sources,
              targets,
              Math.max(1, piece / (experts.size() + merged.size())))
          .close();
    }
    merged.forEach(DeviceTensor::forgetCopies);
  }
}
