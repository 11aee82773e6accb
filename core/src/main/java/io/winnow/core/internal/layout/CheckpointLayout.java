package io.winnow.core.internal.layout;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.family.Families;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a checkpoint under the names of their family, each with the shape that the
 * dimensions demand.
 */
public final class CheckpointLayout {
  private final Checkpoint checkpoint;
  private final Family family;
  private final CheckpointConfig json;
  private final DecoderConfig config;
  private final TensorNames names;
  private final StoredTensors tensors;
  private final ExpertCounts counts;
  private final ExpertStorage storage;
  private final Embeddings embeddings;

  private CheckpointLayout(Checkpoint checkpoint, Family family) {
    this.checkpoint = checkpoint;
    this.family = family;
    json = family.decoder(checkpoint.config());
    config = family.config().apply(json);
    names = NameFinder.find(checkpoint, config, family.names());
    Quantization quantization = Quantization.read(checkpoint, json, names.experts());
    tensors = new StoredTensors(names, checkpoint, quantization);
    counts = ExpertCounts.read(checkpoint, config);
    storage = ExpertStorage.of(tensors, config, counts);
    embeddings = new Embeddings(tensors, config);
  }

  /**
   * Finds every tensor that the decoder needs.
   *
   * @throws io.winnow.core.InvalidInputException if the family is not supported, a tensor is
   *     missing or has another shape
   */
  public static CheckpointLayout of(Checkpoint checkpoint) {
    CheckpointLayout layout = new CheckpointLayout(checkpoint, Families.of(checkpoint));
    layout.embeddings.embedding();
    layout.finalNorm();
    layout.embeddings.head();
    layout.embeddings.headBias();
    for (int layer = 0; layer < layout.config.layers(); layer++) {
      layout.mixer(layer);
      layout.mixerNorms(layer);
      layout.blockNorms(layer);
      if (!layout.config.isSparse(layer)) {
        layout.dense(layer);
        continue;
      }
      layout.routing(layer, null);
      layout.router(layer);
      layout.routerMapping(layer);
      layout.routerBias(layer);
      layout.correction(layer);
      layout.shared(layer);
      layout.sharedGate(layer);
      for (int expert = 0; expert < layout.experts(layer); expert++) {
        layout.expert(layer, expert);
      }
    }
    return layout;
  }

  public Checkpoint checkpoint() {
    return checkpoint;
  }

  public Family family() {
    return family;
  }

  /** Returns the names of the tensors, which may be others than the family's. */
  public TensorNames names() {
    return names;
  }

  public DecoderConfig config() {
    return config;
  }

  public Quantization quantization() {
    return tensors.quantization();
  }

  private TensorInfo plain(String name, long... shape) {
    return tensors.plain(name, shape);
  }

  /** A norm's weight, and its bias where there is one. */
  public record Norm(TensorInfo weight, @Nullable TensorInfo bias) {
    /** Returns the tensors. */
    public List<TensorInfo> tensors() {
      return bias == null ? List.of(weight) : List.of(weight, bias);
    }
  }

  /** The norms before and behind one block of a layer, where there are such. */
  public record BlockNorms(@Nullable Norm before, @Nullable Norm behind) {
    /** Returns the norms that there are. */
    public List<Norm> all() {
      return Stream.of(before, behind).filter(Objects::nonNull).toList();
    }

    private List<TensorInfo> tensors() {
      return all().stream().flatMap(norm -> norm.tensors().stream()).toList();
    }
  }

  /**
   * Makes a layer's routing.
   *
   * @param layer a layer with experts
   * @param correction as stored, or null where there is none or it does not matter
   */
  public Routing routing(int layer, float @Nullable [] correction) {
    return family.routing().create(json, config.withExperts(experts(layer)), correction);
  }

  /** Returns n, the experts of a layer as stored. */
  public int experts(int layer) {
    return counts.of(layer);
  }

  /** Returns whether layers may have different numbers of experts, so that only we can read it. */
  public boolean isUneven() {
    return counts.isUneven();
  }

  /** Returns the weights of embedding and head, which may be one. */
  public Embeddings embeddings() {
    return embeddings;
  }

  public Norm finalNorm() {
    return norm(names.finalNorm());
  }

  private Norm norm(String name) {
    return new Norm(
        plain(name, config.hiddenSize()),
        config.kernel().layerNorm()
            ? plain(StoredTensors.biasOf(name), config.hiddenSize())
            : null);
  }

  /** Returns the norms of a layer's sequence mixer. */
  public BlockNorms mixerNorms(int layer) {
    return new BlockNorms(
        optionalNorm(names.normBeforeMixer(layer)), optionalNorm(names.normBehindMixer(layer)));
  }

  /** Returns the norms of a layer's feed-forward block. */
  public BlockNorms blockNorms(int layer) {
    return new BlockNorms(
        optionalNorm(names.normBeforeBlock(layer)), optionalNorm(names.normBehindBlock(layer)));
  }

  private @Nullable Norm optionalNorm(@Nullable String name) {
    return name == null ? null : norm(name);
  }

  /** Returns the weights of a layer's sequence mixer. */
  public Map<MixerPart, StoredWeight> mixer(int layer) {
    Map<MixerPart, StoredWeight> stored = new EnumMap<>(MixerPart.class);
    config
        .mixer(layer)
        .shapes(config.hiddenSize())
        .forEach(
            (part, shape) -> {
              String name = names.mixer(layer, part);
              stored.put(
                  part,
                  part.isMatrix()
                      ? tensors.matrix(name, shape[0], shape[1])
                      : new StoredWeight.Plain(plain(name, shape)));
            });
    return stored;
  }

  public TensorInfo router(int layer) {
    return plain(names.router(layer), routerExperts(layer), config.hiddenSize());
  }

  public @Nullable TensorInfo routerBias(int layer) {
    String name = names.routerBias(layer);
    return name == null ? null : plain(name, routerExperts(layer));
  }

  /** Returns the bias of the selection, {@code [experts]} or {@code [1, experts]}. */
  public @Nullable TensorInfo correction(int layer) {
    String name = names.correction(layer);
    if (name == null) {
      return null;
    }
    TensorInfo info = checkpoint.tensor(name);
    List<Long> row = List.of(1L, (long) experts(layer));
    return info.shape().equals(row) ? Quantization.plain(info) : plain(info.name(), experts(layer));
  }

  /** Returns n, the rows of the gate, of which a router mapping makes the experts' scores. */
  int routerExperts(int layer) {
    return counts.gateRows(layer);
  }

  /** Returns whether the checkpoint holds merged experts, and router mappings for them. */
  public boolean isMerged() {
    return counts.isMapped();
  }

  /** Returns the router mapping {@code [r, n]} of a merged checkpoint; null for others. */
  public @Nullable TensorInfo routerMapping(int layer) {
    return isMerged()
        ? plain(names.routerMapping(layer), experts(layer), routerExperts(layer))
        : null;
  }

  /** Returns gate, up and down of a layer without experts, and their biases if there are some. */
  public StoredWeight[] dense(int layer) {
    return feedForward(names.block(layer, ""), config.denseSize());
  }

  /** Returns the same of the shared experts; null if there are none. */
  public StoredWeight @Nullable [] shared(int layer) {
    String name = names.shared(layer);
    return name == null || config.sharedSize() == 0 ? null : feedForward(name, config.sharedSize());
  }

  private StoredWeight[] feedForward(String prefix, long size) {
    List<String> names = List.of("gate_proj.", "up_proj.", "down_proj.");
    List<StoredWeight> stored = new ArrayList<>();
    Collections.addAll(
        stored,
        tensors.feedForward(
            prefix + names.get(0) + "weight",
            prefix + names.get(1) + "weight",
            prefix + names.get(2) + "weight",
            size,
            config.hiddenSize()));
    if (config.biasedFeedForward()) {
      for (int i = 0; i < names.size(); i++) {
        String name = prefix + names.get(i) + "bias";
        stored.add(new StoredWeight.Plain(plain(name, stored.get(i).shape().get(0))));
      }
    }
    return stored.toArray(StoredWeight[]::new);
  }

  /** Returns what the shared expert's weight is computed by, {@code [1, d]}; null for 1. */
  public @Nullable TensorInfo sharedGate(int layer) {
    String name = names.sharedGate(layer);
    return name == null ? null : plain(name, 1, config.hiddenSize());
  }

  /**
   * Returns an expert's weights: gate, up and down by rows, and their biases if there are some; or,
   * where gate and up alternate or lie in columns, both in one, down, and their biases.
   */
  public StoredWeight[] expert(int layer, int expert) {
    return storage.expert(layer, expert).toArray(StoredWeight[]::new);
  }

  /** Returns the weights of one expert that lie in tensors of its own; none where all are fused. */
  public List<StoredWeight> ownOf(int layer, int expert) {
    return storage.own(layer, expert);
  }

  /** Returns whether each expert has gate, up and down in tensors of its own, without biases. */
  public boolean isSingleExperts() {
    return names.experts() instanceof ExpertNames.Single single && !single.biased();
  }

  /** Returns how fused experts are cut; null where each has tensors of its own. */
  public ExpertNames.@Nullable Layout layout() {
    return names.experts() instanceof ExpertNames.Fused fused ? fused.layout() : null;
  }

  /** Returns the weights of all experts of a layer: fused ones, or those of each. */
  public List<StoredWeight> routedExperts(int layer) {
    return storage.all(layer);
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
    storage.fused(layer).forEach(weight -> infos.addAll(weight.tensors()));
    return infos;
  }

  /** Returns everything that computing one layer reads, as it lies in the files. */
  public List<TensorInfo> layerTensors(int layer) {
    List<TensorInfo> infos = new ArrayList<>();
    List<StoredWeight> weights = new ArrayList<>(mixer(layer).values());
    infos.addAll(mixerNorms(layer).tensors());
    infos.addAll(blockNorms(layer).tensors());
    if (config.isSparse(layer)) {
      infos.add(router(layer));
      infos.addAll(expertRows(layer));
      weights.addAll(storage.all(layer));
      StoredWeight[] shared = shared(layer);
      if (shared != null) {
        Collections.addAll(weights, shared);
      }
      TensorInfo sharedGate = sharedGate(layer);
      if (sharedGate != null) {
        infos.add(sharedGate);
      }
    } else {
      Collections.addAll(weights, dense(layer));
    }
    weights.forEach(weight -> infos.addAll(weight.tensors()));
    return infos.stream().distinct().toList();
  }

  /**
   * Returns the type to compute in that needs no conversion: that of the experts, and where they
   * are quantised, of the embedding.
   *
   * @throws InvalidInputException if there are no experts
   */
  public TensorType computeType() {
    List<Integer> sparse = config.sparseLayers();
    if (sparse.isEmpty()) {
      throw new InvalidInputException(
          "By config.json of "
              + checkpoint.folder()
              + " no layer has experts, so that there is nothing to prune or skip");
    }
    StoredWeight expert = expert(sparse.get(0), 0)[0];
    return expert instanceof StoredWeight.Plain
        ? expert.values().type()
        : embeddings.embedding().type();
  }

  /**
   * Returns why the weights cannot be trained, or null if they can: what is not plain softmax
   * routing to experts with tensors of their own has no gradient here.
   */
  public @Nullable String whyNotTrainable() {
    if (!quantization().isNone()) {
      return "Quantised weights ("
          + quantization().method()
          + ") are not trained; convert the checkpoint to F32, F16 or BF16 for that";
    }
    boolean plain =
        routing(config.sparseLayers().get(0), null) instanceof SoftmaxRouting
            && isSingleExperts()
            && !names.hasRouterBias()
            && config.sharedSize() == 0
            && config.sparseLayers().size() == config.layers()
            && !config.kernel().layerNorm()
            && !config.biasedHead();
    return plain
        ? null
        : "Models of type "
            + family.modelType()
            + (isSingleExperts() ? "" : " whose experts are fused")
            + " are not trained here: that needs softmax routing, experts with tensors of their own,"
            + " and neither shared experts nor dense layers";
  }
}
