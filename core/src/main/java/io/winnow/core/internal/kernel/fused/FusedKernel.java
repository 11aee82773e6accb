package io.winnow.core.internal.kernel.fused;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.form.StateForm;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.kernel.LayerState;
import io.winnow.core.internal.kernel.LayerWeights;
import io.winnow.core.internal.kernel.MixerWeights;
import io.winnow.core.internal.kernel.PassContext;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RotaryTable;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.TokenPlaces;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.ScalarTypes;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations as TorchScript methods, in float32, float16 and bfloat16. For inference
 * only. Thread-safe.
 */
public final class FusedKernel implements Kernel {
  /** Elements in float32 that merging works on at a time: on the CPU what its cache holds. */
  private static final long CPU_PIECE = 1L << 20;

  private static final long GPU_PIECE = 16L << 20;

  /** Elements of experts' outputs that are kept until a token's are summed; 256 MB. */
  private static final long OUTPUT_ELEMENTS = 64L << 20;

  private final TorchScriptModule module;
  private final int scalarType;
  private final KernelConfig config;
  private final IValue noTensors;
  private final LayerScripts scripts;
  private final FusedExperts experts;
  private final FusedStates states;

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
    scalarType = ScalarTypes.of(type);
    module = TorchScriptModule.load(parent);
    noTensors = own(parent, DeviceTensor.list());
    IValue noNumbers = own(parent, IValue.listFrom(new double[0]));
    float[] length = {(float) Math.sqrt(config.hiddenSize() * config.epsilon())};
    DeviceTensor least = DeviceTensor.owning(parent.create(length)).outliveScopes();
    scripts = new LayerScripts(module, config, noTensors, least);
    experts =
        new FusedExperts(
            module, scripts, config.hiddenSize(), outputElements, noTensors, noNumbers);
    states = new FusedStates(module, scalarType);
  }

  /** Returns the TorchScript module, for what is not an operation of a decoder. */
  public TorchScriptModule module() {
    return module;
  }

  IValue noTensors() {
    return noTensors;
  }

  /** Lets a manager close a value. */
  IValue own(NDManager manager, IValue value) {
    manager.attachInternal(value.getUid(), value);
    return value;
  }

  @Override
  public Residual embed(NDManager manager, DeviceTensor table, NDArray ids) {
    try (DeviceTensor tokens = DeviceTensor.borrowing(ids)) {
      return Residual.of(
          module.runForTensor(manager, "embed", table, tokens, config.embeddingFactor()));
    }
  }

  @Override
  public PassContext prepare(
      NDManager manager,
      Collection<SequenceMixer> mixers,
      Map<RotaryConfig, RotaryTable> tables,
      TokenPlaces places) {
    return new FusedContext.Maker(this, manager, places, tables).make(mixers);
  }

  /** Returns a table of factors for layers that are not rotated, which read none of them. */
  DeviceTensor noRotation(NDManager manager, int positions) {
    return DeviceTensor.owning(manager.zeros(new Shape(positions, 2)));
  }

  /** Returns an array in the model's type. */
  DeviceTensor narrowed(NDManager manager, NDArray array) {
    if (scalarType == ScalarTypes.of(DataType.FLOAT32)) {
      // Converted, it would be the same memory, which belongs to the array's Java object.
      return DeviceTensor.owning(array);
    }
    try (DeviceTensor wide = DeviceTensor.owning(array)) {
      return module.runForTensor(
          manager, "convert", wide, ScalarTypes.deviceName(manager.getDevice()), (long) scalarType);
    }
  }

  @Override
  public DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      MixerWeights weights,
      PassContext context,
      @Nullable LayerState state) {
    return module.runForTensor(
        manager, "attend", hidden, scripts.block(weights), of(context, weights), listOf(state));
  }

  @Override
  public DeviceTensor attendLast(
      NDManager manager,
      DeviceTensor hidden,
      MixerWeights weights,
      PassContext context,
      @Nullable LayerState state,
      int count) {
    return module.runForTensor(
        manager,
        "attend_last",
        hidden,
        scripts.block(weights),
        of(context, weights),
        listOf(state),
        (long) count);
  }

  private static IValue of(PassContext context, MixerWeights weights) {
    return ((FusedContext) context).of(weights.form());
  }

  private IValue listOf(@Nullable LayerState state) {
    TensorList list = state == null ? null : state.list();
    return list == null ? noTensors : list.value();
  }

  @Override
  public RoutedResidual route(
      NDManager manager, DeviceTensor hidden, Junction junction, DeviceTensor gate) {
    try (IValue result =
        module.run("route", hidden, scripts.junction(junction), gate, scalarType)) {
      return new RoutedState(manager, junction, result);
    }
  }

  @Override
  public RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      PassContext context,
      @Nullable LayerState state) {
    IValue block = scripts.block(weights.mixer());
    IValue known = of(context, weights.mixer());
    IValue kept = listOf(state);
    IValue junction = scripts.junction(weights.junction());
    try (IValue result =
        residual instanceof PendingResidual pending
            ? module.run(
                "mix_attend_and_route",
                pending.followedBy(block, known, kept, junction, weights.gate(), scalarType))
            : module.run(
                "attend_and_route",
                residual.hidden(),
                block,
                known,
                kept,
                junction,
                weights.gate(),
                scalarType)) {
      return new RoutedState(manager, weights.junction(), result);
    }
  }

  @Override
  public Residual mixLater(NDManager manager, RoutedResidual routed, ExpertMix mix) {
    if (mix.tokens() == 1 && routed instanceof RoutedState state) {
      return experts.later(manager, state, mix);
    }
    try (routed) {
      return Residual.of(experts.mix(manager, routed, mix));
    }
  }

  @Override
  public DeviceTensor settle(NDManager manager, Residual residual) {
    return residual instanceof PendingResidual pending
        ? module.runForTensor(manager, "mix_one", pending.followedBy())
        : residual.hidden();
  }

  @Override
  public DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, @Nullable NDArray routingWeights) {
    if (routingWeights != null) {
      throw new IllegalArgumentException("The fused kernel cannot be differentiated");
    }
    return experts.mix(manager, routed, mix);
  }

  @Override
  public DeviceTensor add(NDManager manager, RoutedResidual routed, NDArray output) {
    try (DeviceTensor y = DeviceTensor.borrowing(output)) {
      return module.runForTensor(
          manager, "add", routed.hidden(), scripts.junction(routed.junction()), y);
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
  public NDArray finalHidden(NDManager manager, DeviceTensor hidden, Junction junction) {
    return module.runForTensor(manager, "read", hidden, scripts.junction(junction)).array();
  }

  @Override
  public NDArray head(
      NDManager manager,
      Residual residual,
      Junction junction,
      DeviceTensor weight,
      @Nullable TensorList bias,
      int tokens,
      int count) {
    double divisor = config.logitsDivisor();
    IValue norm = scripts.junction(junction);
    IValue biases = bias == null ? noTensors : bias.value();
    DeviceTensor logits =
        residual instanceof PendingResidual pending
            ? module.runForTensor(
                manager, "mix_and_head", pending.followedBy(norm, weight, biases, divisor))
            : module.runForTensor(
                manager, "head", residual.hidden(), norm, weight, biases, tokens, count, divisor);
    return logits.array();
  }

  @Override
  public void reserve(
      LayerState state, DeviceTensor like, StateForm form, int sequences, int tokens) {
    states.reserve(state, like, form, sequences, tokens);
  }

  @Override
  public DeviceTensor copyState(
      NDManager manager, DeviceTensor kept, NDArray rows, int length, int tokens) {
    return states.copy(manager, kept, rows, length, tokens);
  }

  /**
   * Fills an empty cache with copies of what a host holds.
   *
   * @param contents the tensors of each layer's state, {@code [sequences, heads, length, size]}
   *     float32; all layers have equally many
   */
  public void fill(KeyValueCache cache, NDList contents) {
    states.fill(cache, contents);
  }

  /**
   * Returns copies of what a cache holds, in the form that {@link #fill} takes; they belong to
   * {@code manager}.
   */
  public NDList contents(NDManager manager, KeyValueCache cache) {
    return states.contents(manager, cache);
  }

  /**
   * Returns an array's elements in the type of a checkpoint, little-endian. The memory belongs to
   * {@code manager} or the array itself, and must outlive the buffer.
   *
   * @param array float32
   */
  public ByteBuffer bytes(NDManager manager, NDArray array, TensorType type) {
    try (DeviceTensor wide = DeviceTensor.borrowing(array)) {
      return bytes(manager, array.getName(), wide, type);
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

  /**
   * Returns a matrix's columns as rows, in float32, to be read only: {@code [rows, columns]} to
   * {@code [columns, rows]}.
   */
  public NDArray columns(NDManager manager, DeviceTensor matrix) {
    return module.runForTensor(manager, "columns", matrix).array();
  }

  @Override
  public DeviceTensor newBuffer(NDManager manager, DeviceTensor like) {
    return module.runForTensor(manager, "empty_like", like);
  }

  @Override
  public void merge(
      NDManager manager, List<DeviceTensor> sources, float[][] factors, List<DeviceTensor> merged) {
    try (DeviceTensor weights = DeviceTensor.owning(manager.create(factors));
        IValue from = DeviceTensor.list(sources.toArray(DeviceTensor[]::new));
        IValue to = DeviceTensor.list(merged.toArray(DeviceTensor[]::new))) {
      long piece = manager.getDevice().isGpu() ? GPU_PIECE : CPU_PIECE;
      module
          .run(
              "merge_experts",
              weights,
              from,
              to,
              Math.max(1, piece / (sources.size() + merged.size())))
          .close();
    }
    merged.forEach(DeviceTensor::forgetCopies);
  }
}
