package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.util.Progress;
import com.google.common.primitives.Doubles;
import com.google.common.primitives.Floats;
import com.google.common.primitives.Ints;
import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.internal.kernel.fused.FusedKernel;
import io.winnow.core.internal.kernel.read.WeightReader;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.routing.MappedRouting;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Makes a decoder of a checkpoint, or one of its layers. Used once. */
public final class DecoderReader {
  private final CheckpointLayout layout;
  private final DecoderConfig config;
  private final NDManager manager;
  private final DecoderRuntime runtime;
  private final FusedKernel kernel;

  /**
   * Creates a reader.
   *
   * @param manager the model's
   * @param type to compute in
   * @param fused whether inference runs in the fused kernel
   * @param small whether the steps of a single token run in Java then, where the form allows it
   */
  public DecoderReader(
      CheckpointLayout layout, NDManager manager, DataType type, boolean fused, boolean small) {
    this(layout, manager, type, fused, small, layout.whyNotTrainable());
  }

  /**
   * Creates a reader of weights that may not be trained.
   *
   * @param whyNotTrainable what training is refused with; null if weights can be trained
   */
  public DecoderReader(
      CheckpointLayout layout,
      NDManager manager,
      DataType type,
      boolean fused,
      boolean small,
      @Nullable String whyNotTrainable) {
    this.layout = layout;
    this.manager = manager;
    config = layout.config();
    kernel = new FusedKernel(manager, type, config.kernel());
    runtime =
        new DecoderRuntime(
            config, type, manager, kernel, fused, small, whyNotTrainable, layout.isSingleExperts());
  }

  /**
   * Reads.
   *
   * @param selection per layer the experts to read
   */
  public MoeDecoder read(Map<Integer, List<Integer>> selection, @Nullable Progress progress) {
    if (progress != null) {
      progress.reset("Loading", config.layers());
    }
    try (WeightReader reader = new WeightReader(kernel, manager, runtime.type())) {
      Weight embedding = matrix(reader, layout.embeddings().embedding());
      List<DecoderLayer> layers = new ArrayList<>();
      for (int layer = 0; layer < config.layers(); layer++) {
        layers.add(layer(reader, reader, layer, selection.getOrDefault(layer, List.of())));
        if (progress != null) {
          progress.increment(1);
        }
      }
      if (progress != null) {
        progress.end();
      }
      TensorInfo headBias = layout.embeddings().headBias();
      return new MoeDecoder(
          layout.checkpoint(),
          layout.family(),
          new LayerStack(
              runtime,
              embedding,
              layers,
              norm(reader, layout.finalNorm()),
              layout.embeddings().isTied() ? embedding : matrix(reader, layout.embeddings().head()),
              headBias == null ? null : reader.readWide(headBias)));
    }
  }

  /**
   * Reads one layer, with all its experts in the type they are stored in: on the CPU they stay in
   * their files.
   *
   * @param expertType what the routed experts are stored in
   * @param listener is told of every tensor
   */
  DecoderLayer readLayer(int layer, DataType expertType, Consumer<String> listener) {
    try (WeightReader reader = new WeightReader(kernel, manager, runtime.type(), listener);
        WeightReader expertReader = new WeightReader(kernel, manager, expertType, listener)) {
      List<Integer> all = IntStream.range(0, layout.experts(layer)).boxed().toList();
      return layer(reader, expertReader, layer, all);
    }
  }

  /** Reads the token embeddings alone; otherwise like {@link #readLayer}. */
  DeviceTensor readEmbedding(DataType stored, Consumer<String> listener) {
    try (WeightReader reader = new WeightReader(kernel, manager, stored, listener)) {
      return reader.read(layout.embeddings().embedding());
    }
  }

  /** Reads the final norm and the head alone; otherwise like {@link #readLayer}. */
  DecoderHead readHead(DataType stored, Consumer<String> listener) {
    try (WeightReader reader = new WeightReader(kernel, manager, runtime.type(), listener);
        WeightReader headReader = new WeightReader(kernel, manager, stored, listener)) {
      TensorInfo bias = layout.embeddings().headBias();
      return new DecoderHead(
          kernel,
          norm(reader, layout.finalNorm()).tensor(),
          headReader.read(layout.embeddings().head()),
          bias == null ? null : TensorList.of(reader.readWide(bias)));
    }
  }

  DecoderRuntime runtime() {
    return runtime;
  }

  private DecoderLayer layer(
      WeightReader reader, WeightReader expertReader, int layer, List<Integer> stored) {
    FeedForward feedForward =
        config.isSparse(layer)
            ? moe(reader, expertReader, layer, stored)
            : new DenseFeedForward(
                runtime,
                norms(reader, layout.blockNorms(layer)),
                apart(reader, layout.dense(layer)));
    return new DecoderLayer(runtime, mixer(reader, layer), feedForward);
  }

  private MixerBlock mixer(WeightReader reader, int layer) {
    Map<MixerPart, StoredWeight> stored = layout.mixer(layer);
    Map<MixerPart, Weight> weights = new EnumMap<>(MixerPart.class);
    List<MixerPart> stacked = List.of(MixerPart.QUERY, MixerPart.KEY, MixerPart.VALUE);
    DeviceTensor projections = null;
    if (stored.keySet().containsAll(stacked)) {
      List<StoredWeight> sources =
          stacked.stream().map(part -> Objects.requireNonNull(stored.get(part))).toList();
      List<DeviceTensor> tensors = reader.readStacked(sources);
      for (int i = 0; i < sources.size(); i++) {
        weights.put(stacked.get(i), weight(sources.get(i).values().name(), tensors.get(i)));
      }
      projections = tensors.size() > sources.size() ? tensors.get(sources.size()) : null;
    }
    stored.forEach(
        (part, source) -> {
          if (!weights.containsKey(part)) {
            String name = source.values().name();
            weights.put(
                part,
                part.isMatrix()
                    ? weight(name, reader.read(source))
                    : wide(reader, source.values()));
          }
        });
    return new MixerBlock(
        runtime,
        layer,
        config.mixer(layer),
        norms(reader, layout.mixerNorms(layer)),
        weights,
        projections);
  }

  private SparseMoe moe(
      WeightReader reader, WeightReader expertReader, int layer, List<Integer> stored) {
    List<SparseMoe.Expert> experts = new ArrayList<>();
    SparseMoe.Router router = router(reader, layer, stored);
    for (int expert : stored) {
      experts.add(expert(expertReader, layout.expert(layer, expert)));
    }
    return new SparseMoe(
        runtime,
        layer,
        norms(reader, layout.blockNorms(layer)),
        router,
        experts,
        shared(reader, layer),
        stored);
  }

  private SparseMoe.Router router(WeightReader reader, int layer, List<Integer> stored) {
    TensorInfo gateInfo = layout.router(layer);
    // Float32, so that rounding does not select other experts.
    Weight gate = wide(reader, gateInfo);
    Routing routing = layout.routing(layer, floats(reader, layout.correction(layer)));
    float[] bias = floats(reader, layout.routerBias(layer));
    TensorInfo mappingInfo = layout.routerMapping(layer);
    int[] rows = Ints.toArray(stored);
    if (mappingInfo != null) {
      MappedRouting mapping = mapping(reader, mappingInfo, routing).retain(rows);
      return new SparseMoe.Router(routing, gateInfo.name(), gate, bias, mapping);
    }
    if (rows.length < layout.experts(layer)) {
      routing = routing.retain(rows);
      try (Weight full = gate) {
        gate = weight(gateInfo.name(), full.tensor().rows(manager, rows));
      }
      if (bias != null) {
        float[] all = bias;
        bias = Floats.toArray(stored.stream().map(expert -> all[expert]).toList());
      }
    }
    return new SparseMoe.Router(routing, gateInfo.name(), gate, bias, null);
  }

  private static float @Nullable [] floats(WeightReader reader, @Nullable TensorInfo info) {
    if (info == null) {
      return null;
    }
    try (DeviceTensor tensor = reader.readWide(info)) {
      return tensor.array().toFloatArray();
    }
  }

  private static MappedRouting mapping(WeightReader reader, TensorInfo info, Routing routing) {
    if (!(routing instanceof SoftmaxRouting softmax)) {
      throw new IllegalStateException("Merged checkpoints have softmax routing, not " + routing);
    }
    double[][] mapping = new double[info.shape().get(0).intValue()][];
    double[] elements =
        Doubles.toArray(Floats.asList(Objects.requireNonNull(floats(reader, info))));
    int columns = info.shape().get(1).intValue();
    for (int row = 0; row < mapping.length; row++) {
      mapping[row] = Arrays.copyOfRange(elements, row * columns, (row + 1) * columns);
    }
    return MappedRouting.of(softmax, mapping, routing.topK());
  }

  private SparseMoe.@Nullable Shared shared(WeightReader reader, int layer) {
    StoredWeight[] stored = layout.shared(layer);
    if (stored == null) {
      return null;
    }
    TensorInfo gate = layout.sharedGate(layer);
    return new SparseMoe.Shared(apart(reader, stored), gate == null ? null : reader.readWide(gate));
  }

  /** Reads a routed expert. */
  private SparseMoe.Expert expert(WeightReader reader, StoredWeight[] stored) {
    if (stored.length == 3) {
      return apart(reader, stored);
    }
    if (stored.length == 6) {
      return interleaved(reader, stored);
    }
    // Gate and up stay one matrix in memory, as they are in the checkpoint.
    String name = stored[0].values().name();
    DeviceTensor rows = rows(reader, stored[0]);
    Weight down = weight(stored[1].values().name(), rows(reader, stored[1]));
    if (stored.length == 4) {
      TensorInfo gateUpBias = stored[2].values();
      return new SparseMoe.Expert(
          weight(name, rows),
          weight(gateUpBias.name(), biases(reader, gateUpBias, stored[3].values())),
          down);
    }
    try (rows) {
      long size = config.intermediateSize();
      return new SparseMoe.Expert(
          weight(name, rows.rowView(manager, 0, size)),
          weight(name, rows.rowView(manager, size, 2 * size)),
          down);
    }
  }

  /** Reads gate, up and down, which may have biases. */
  private SparseMoe.Expert apart(WeightReader reader, StoredWeight[] stored) {
    return stored.length == 6
        ? biased(reader, stored)
        : new SparseMoe.Expert(
            removable(reader, stored[0]),
            removable(reader, stored[1]),
            removable(reader, stored[2]));
  }

  /** Reads gate, up, down and their biases as gate and up in turn, which the kernel clamps. */
  private SparseMoe.Expert interleaved(WeightReader reader, StoredWeight[] stored) {
    int size = config.intermediateSize();
    int[] inTurn = IntStream.range(0, 2 * size).map(row -> row / 2 + row % 2 * size).toArray();
    try (DeviceTensor matrices = reader.readJoined(List.of(stored[0], stored[1]));
        DeviceTensor gate = reader.readWide(stored[3].values());
        DeviceTensor up = reader.readWide(stored[4].values());
        DeviceTensor down = reader.readWide(stored[5].values());
        NDArray pairs = NDArrays.stack(new NDList(gate.array(), up.array()), 1);
        NDArray both = pairs.flatten()) {
      NDArray biases = both.concat(down.array(), 0);
      return new SparseMoe.Expert(
          weight(stored[0].values().name(), matrices.rows(manager, inTurn)),
          weight(stored[3].values().name(), DeviceTensor.owning(biases).attach(manager)),
          removable(reader, stored[2]));
    }
  }

  /** Reads gate, up and down, and their biases. */
  private SparseMoe.Expert biased(WeightReader reader, StoredWeight[] stored) {
    String name = stored[0].values().name();
    DeviceTensor rows = reader.readJoined(List.of(stored[0], stored[1]));
    try (DeviceTensor gate = reader.readWide(stored[3].values());
        DeviceTensor up = reader.readWide(stored[4].values());
        DeviceTensor down = reader.readWide(stored[5].values());
        NDArray all = NDArrays.concat(new NDList(gate.array(), up.array(), down.array()), 0)) {
      // Three dimensions tell the kernel what these are.
      DeviceTensor biases = DeviceTensor.owning(all.reshape(1, 1, -1)).attach(manager);
      return new SparseMoe.Expert(
          weight(name, rows),
          weight(stored[3].values().name(), biases),
          removable(reader, stored[2]));
    }
  }

  private Weight removable(WeightReader reader, StoredWeight stored) {
    return weight(stored.values().name(), reader.readRemovable(stored));
  }

  /** Reads what is stored in rows, in the rows of blocks, or in columns as a view of the file. */
  private DeviceTensor rows(WeightReader reader, StoredWeight stored) {
    ExpertNames.Layout fused = layout.layout();
    boolean transposed = fused != null && fused.isTransposed();
    if (!transposed || stored instanceof StoredWeight.Mxfp4) {
      return reader.readRemovable(stored);
    }
    try (DeviceTensor columns = reader.readRemovable(stored)) {
      return columns.transposed(manager);
    }
  }

  private DeviceTensor biases(WeightReader reader, TensorInfo gateUp, TensorInfo down) {
    try (DeviceTensor first = reader.readWide(gateUp);
        DeviceTensor second = reader.readWide(down)) {
      NDArray both = first.array().concat(second.array(), 0);
      return DeviceTensor.owning(both).attach(manager);
    }
  }

  private BlockNorms norms(WeightReader reader, CheckpointLayout.BlockNorms norms) {
    CheckpointLayout.Norm before = norms.before();
    CheckpointLayout.Norm behind = norms.behind();
    return new BlockNorms(
        before == null ? null : norm(reader, before),
        behind == null ? null : norm(reader, behind),
        config.kernel().residualFactor());
  }

  /** Norms and routers are small, and float32 in every model. */
  private Weight norm(WeightReader reader, CheckpointLayout.Norm norm) {
    if (norm.bias() == null) {
      return wide(reader, norm.weight());
    }
    try (DeviceTensor factor = reader.readWide(norm.weight());
        DeviceTensor bias = reader.readWide(norm.bias())) {
      NDArray both = factor.array().concat(bias.array(), 0);
      NDArray rows = both.reshape(2, 1, config.hiddenSize());
      both.close();
      return weight(norm.weight().name(), DeviceTensor.owning(rows).attach(manager));
    }
  }

  private Weight wide(WeightReader reader, TensorInfo info) {
    return weight(info.name(), reader.readWide(info));
  }

  private Weight matrix(WeightReader reader, TensorInfo info) {
    return weight(info.name(), reader.read(info));
  }

  private Weight weight(String name, DeviceTensor tensor) {
    return Weight.of(name, tensor, runtime.isTrainable());
  }
}
