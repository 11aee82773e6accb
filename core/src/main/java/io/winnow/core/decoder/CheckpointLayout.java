package io.winnow.core.decoder;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.SoftmaxRouting;
import io.winnow.core.checkpoint.Checkpoint;
import io.winnow.core.checkpoint.CheckpointConfig;
import io.winnow.core.checkpoint.TensorInfo;
import io.winnow.core.decoder.Family.ExpertNames;
import io.winnow.core.kernel.AttentionConfig;
import io.winnow.core.kernel.AttentionPart;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a checkpoint under the names of their family, each with the shape that the
 * dimensions demand.
 */
final class CheckpointLayout {
  /** The field of config.json that says how many rows the gate of a merged checkpoint has. */
  private static final String ROUTER_EXPERTS = "winnow.router_experts";

  private final Checkpoint checkpoint;
  private final Family family;
  private final CheckpointConfig json;
  private final DecoderConfig config;
  private final @Nullable Integer mappedExperts;

  private CheckpointLayout(Checkpoint checkpoint, Family family, @Nullable Integer mappedExperts) {
    this.checkpoint = checkpoint;
    this.family = family;
    this.mappedExperts = mappedExperts;
    json =
        family.section().isEmpty()
            ? checkpoint.config()
            : checkpoint.config().section(family.section());
    config = family.config().apply(json);
  }

  /**
   * Finds every tensor that the decoder needs.
   *
   * @throws io.winnow.core.InvalidInputException if the family is not supported, a tensor is
   *     missing or has another shape
   */
  static CheckpointLayout of(Checkpoint checkpoint) {
    Optional<String> quantized =
        checkpoint.config().string("quantization_config.quant_method", "quantization_config.type");
    if (quantized.isPresent()) {
      throw new InvalidInputException(
          "The weights in "
              + checkpoint.folder()
              + " are quantised by '"
              + quantized.get()
              + "' (quantization_config in config.json); weights are read in F32, F16 and BF16."
              + " Convert the checkpoint to one of these");
    }
    boolean merged = checkpoint.config().modelType().startsWith(Families.MERGED);
    CheckpointLayout layout =
        new CheckpointLayout(
            checkpoint,
            Families.of(checkpoint),
            merged ? checkpoint.config().requirePositiveInt(ROUTER_EXPERTS) : null);
    layout.routing(null);
    layout.embedding();
    layout.finalNorm();
    layout.head();
    layout.headBias();
    for (int layer = 0; layer < layout.config.layers(); layer++) {
      layout.attention(layer);
      layout.moeNorm(layer);
      if (!layout.config.sparse().test(layer)) {
        layout.dense(layer);
        continue;
      }
      layout.router(layer);
      layout.routerMapping(layer);
      layout.routerBias(layer);
      layout.correction(layer);
      layout.shared(layer);
      layout.sharedGate(layer);
      for (int expert = 0; expert < layout.config.experts(); expert++) {
        layout.expert(layer, expert);
      }
    }
    return layout;
  }

  Checkpoint checkpoint() {
    return checkpoint;
  }

  Family family() {
    return family;
  }

  DecoderConfig config() {
    return config;
  }

  /** A norm's weight, and its bias where there is one. */
  record Norm(TensorInfo weight, @Nullable TensorInfo bias) {}

  /**
   * Makes a layer's routing.
   *
   * @param correction as stored, or null where there is none or it does not matter
   */
  Routing routing(float @Nullable [] correction) {
    return family.routing().create(json, config, correction);
  }

  TensorInfo embedding() {
    return checkpoint.tensor(family.embedding(), config.vocabularySize(), config.hiddenSize());
  }

  Norm finalNorm() {
    return norm(family.finalNorm());
  }

  private Norm norm(String name) {
    return new Norm(
        checkpoint.tensor(name, config.hiddenSize()),
        config.kernel().layerNorm() ? checkpoint.tensor(biasOf(name), config.hiddenSize()) : null);
  }

  private static String biasOf(String weight) {
    return weight.substring(0, weight.lastIndexOf('.')) + ".bias";
  }

  TensorInfo head() {
    return config.tiedHead()
        ? embedding()
        : checkpoint.tensor(family.head(), config.vocabularySize(), config.hiddenSize());
  }

  @Nullable TensorInfo headBias() {
    return config.biasedHead()
        ? checkpoint.tensor(biasOf(family.head()), config.vocabularySize())
        : null;
  }

  /** Returns the norm before the attention. */
  Norm attentionNorm(int layer) {
    return norm(family.attention(layer, AttentionPart.NORM));
  }

  /** Returns the weights of the attention, the norm's among them. */
  Map<AttentionPart, TensorInfo> attention(int layer) {
    Map<AttentionPart, TensorInfo> infos = new EnumMap<>(AttentionPart.class);
    AttentionConfig form = config.attention().apply(layer);
    infos.put(AttentionPart.NORM, attentionNorm(layer).weight());
    for (AttentionPart part : config.attentionParts()) {
      infos.put(part, checkpoint.tensor(family.attention(layer, part), shape(form, part)));
    }
    return infos;
  }

  private long[] shape(AttentionConfig form, AttentionPart part) {
    long hidden = config.hiddenSize();
    long queries = (long) form.heads() * form.headSize();
    long keys = (long) form.keyValueHeads() * form.headSize();
    boolean whole = form.norm() == AttentionConfig.QueryKeyNorm.PROJECTION;
    AttentionConfig.Latent latent = form.latent();
    long rank = latent == null ? 0 : latent.rank();
    long queryRank = latent == null ? 0 : latent.queryRank();
    long values = latent == null ? queries : (long) form.heads() * latent.valueSize();
    long plain = latent == null ? 0 : (long) form.heads() * latent.plainSize();
    long rotated = config.rotary().inverseFrequencies().length * 2L;
    return switch (part) {
      case NORM -> new long[] {hidden};
      case QUERY -> new long[] {queries, hidden};
      case KEY, VALUE -> new long[] {keys, hidden};
      case OUTPUT -> new long[] {hidden, values};
      case QUERY_BIAS -> new long[] {queries};
      case KEY_BIAS, VALUE_BIAS -> new long[] {keys};
      case OUTPUT_BIAS -> new long[] {hidden};
      case QUERY_NORM -> new long[] {whole ? queries : form.headSize()};
      case KEY_NORM -> new long[] {whole ? keys : form.headSize()};
      case SINKS -> new long[] {form.heads()};
      case QUERY_DOWN -> new long[] {queryRank, hidden};
      case QUERY_DOWN_BIAS, QUERY_DOWN_NORM -> new long[] {queryRank};
      case QUERY_UP -> new long[] {queries, queryRank};
      case LATENT -> new long[] {rank + rotated, hidden};
      case LATENT_BIAS -> new long[] {rank + rotated};
      case LATENT_NORM -> new long[] {rank};
      case LATENT_UP -> new long[] {plain + values, rank};
    };
  }

  /** Returns the norm before the experts, or before the dense block. */
  Norm moeNorm(int layer) {
    return norm(family.moeNorm(layer));
  }

  TensorInfo router(int layer) {
    return checkpoint.tensor(family.router(layer), routerExperts(), config.hiddenSize());
  }

  @Nullable TensorInfo routerBias(int layer) {
    String name = family.names().routerBias();
    return name == null ? null : checkpoint.tensor(family.block(layer, name), routerExperts());
  }

  /** Returns the bias of the selection, {@code [experts]} or {@code [1, experts]}. */
  @Nullable TensorInfo correction(int layer) {
    String name = family.names().correction();
    if (name == null) {
      return null;
    }
    TensorInfo info = checkpoint.tensor(family.block(layer, name));
    List<Long> row = List.of(1L, (long) config.experts());
    return info.shape().equals(row) ? info : checkpoint.tensor(info.name(), config.experts());
  }

  /** Returns n, the rows of the gate, of which a router mapping makes the experts' scores. */
  int routerExperts() {
    return mappedExperts == null ? config.experts() : mappedExperts;
  }

  /** Returns whether the checkpoint holds merged experts, and router mappings for them. */
  boolean isMerged() {
    return mappedExperts != null;
  }

  /** Returns the router mapping {@code [r, n]} of a merged checkpoint; null for others. */
  @Nullable TensorInfo routerMapping(int layer) {
    return mappedExperts == null
        ? null
        : checkpoint.tensor(family.routerMapping(layer), config.experts(), mappedExperts);
  }

  /** Returns gate, up and down of a layer without experts. */
  TensorInfo[] dense(int layer) {
    return feedForward(family.block(layer, ""), config.denseSize());
  }

  /** Returns gate, up and down of the shared experts; null if there are none. */
  TensorInfo @Nullable [] shared(int layer) {
    String name = family.names().shared();
    return name == null || config.sharedSize() == 0
        ? null
        : feedForward(family.block(layer, name + "."), config.sharedSize());
  }

  private TensorInfo[] feedForward(String prefix, long size) {
    return matrices(
        prefix + "gate_proj.weight", prefix + "up_proj.weight", prefix + "down_proj.weight", size);
  }

  private TensorInfo[] matrices(String gate, String up, String down, long size) {
    long hidden = config.hiddenSize();
    return new TensorInfo[] {
      checkpoint.tensor(gate, size, hidden),
      checkpoint.tensor(up, size, hidden),
      checkpoint.tensor(down, hidden, size)
    };
  }

  /** Returns what the shared expert's weight is computed by, {@code [1, d]}; null for 1. */
  @Nullable TensorInfo sharedGate(int layer) {
    String name = family.names().sharedGate();
    return name == null
        ? null
        : checkpoint.tensor(family.block(layer, name), 1, config.hiddenSize());
  }

  /**
   * Returns an expert's tensors. Single ones, and fused rows: gate, up and down. Fused columns:
   * gate and up, down, and their biases if there are some.
   */
  TensorInfo[] expert(int layer, int expert) {
    long size = config.intermediateSize();
    if (family.names().experts() instanceof ExpertNames.Single single) {
      return matrices(
          family.expert(layer, single.gate(), expert),
          family.expert(layer, single.up(), expert),
          family.expert(layer, single.down(), expert),
          size);
    }
    List<TensorInfo> slices = new ArrayList<>();
    for (TensorInfo all : fusedExperts(layer)) {
      slices.add(part(all, expert, config.experts(), all.shape().subList(1, all.shape().size())));
    }
    if (layout() == ExpertNames.Layout.ROWS) {
      TensorInfo both = slices.remove(0);
      List<Long> half = List.of(size, (long) config.hiddenSize());
      slices.add(0, part(both, 0, 2, half));
      slices.add(1, part(both, 1, 2, half));
    }
    return slices.toArray(TensorInfo[]::new);
  }

  private static TensorInfo part(TensorInfo all, int index, int parts, List<Long> shape) {
    long length = all.length() / parts;
    return new TensorInfo(
        all.name() + "[" + index + "]",
        all.type(),
        shape,
        all.file(),
        all.offset() + index * length,
        length);
  }

  /** Returns how fused experts are cut; null where each has tensors of its own. */
  ExpertNames.@Nullable Layout layout() {
    return family.names().experts() instanceof ExpertNames.Fused fused ? fused.layout() : null;
  }

  private List<TensorInfo> fusedExperts(int layer) {
    if (!(family.names().experts() instanceof ExpertNames.Fused fused)) {
      return List.of();
    }
    long experts = config.experts();
    long hidden = config.hiddenSize();
    long size = config.intermediateSize();
    boolean rows = fused.layout() == ExpertNames.Layout.ROWS;
    List<TensorInfo> infos = new ArrayList<>();
    infos.add(
        checkpoint.tensor(
            family.block(layer, fused.gateUp()),
            experts,
            rows ? 2 * size : hidden,
            rows ? hidden : 2 * size));
    infos.add(
        checkpoint.tensor(
            family.block(layer, fused.down()),
            experts,
            rows ? hidden : size,
            rows ? size : hidden));
    if (fused.gateUpBias() != null && fused.downBias() != null) {
      infos.add(checkpoint.tensor(family.block(layer, fused.gateUpBias()), experts, 2 * size));
      infos.add(checkpoint.tensor(family.block(layer, fused.downBias()), experts, hidden));
    }
    return infos;
  }

  /** Returns the tensors that hold a row for each expert of a layer. */
  List<TensorInfo> expertRows(int layer) {
    // Where a router mapping makes the experts' scores, the gate stays whole.
    TensorInfo mapping = routerMapping(layer);
    List<TensorInfo> infos = new ArrayList<>();
    infos.add(mapping == null ? router(layer) : mapping);
    TensorInfo bias = routerBias(layer);
    if (bias != null) {
      infos.add(bias);
    }
    TensorInfo correction = correction(layer);
    if (correction != null) {
      infos.add(correction);
    }
    infos.addAll(fusedExperts(layer));
    return infos;
  }

  /** Returns everything that computing one layer reads, as it lies in the files. */
  List<TensorInfo> layerTensors(int layer) {
    List<TensorInfo> infos = new ArrayList<>(attention(layer).values());
    for (Norm norm : List.of(attentionNorm(layer), moeNorm(layer))) {
      infos.add(norm.weight());
      if (norm.bias() != null) {
        infos.add(norm.bias());
      }
    }
    if (!config.sparse().test(layer)) {
      infos.addAll(List.of(dense(layer)));
      return infos;
    }
    infos.add(router(layer));
    infos.addAll(expertRows(layer));
    if (layout() == null) {
      for (int expert = 0; expert < config.experts(); expert++) {
        infos.addAll(List.of(expert(layer, expert)));
      }
    }
    TensorInfo[] shared = shared(layer);
    if (shared != null) {
      infos.addAll(List.of(shared));
    }
    TensorInfo sharedGate = sharedGate(layer);
    if (sharedGate != null) {
      infos.add(sharedGate);
    }
    return infos.stream().distinct().toList();
  }

  /**
   * Returns why the weights cannot be trained, or null if they can: what is not plain softmax
   * routing to experts with tensors of their own has no gradient here.
   */
  @Nullable String whyNotTrainable() {
    boolean plain =
        routing(null) instanceof SoftmaxRouting
            && layout() == null
            && family.names().routerBias() == null
            && config.sharedSize() == 0
            && config.sparseLayers().size() == config.layers()
            && !config.kernel().layerNorm()
            && !config.biasedHead();
    return plain
        ? null
        : "Models of type "
            + family.modelType()
            + " are not trained here: that needs softmax routing, experts with tensors of their own,"
            + " and neither shared experts nor dense layers";
  }
}
