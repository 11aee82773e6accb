package io.winnow.core.model;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.CheckpointSummary.Footprint;
import io.winnow.core.model.CheckpointSummary.Part;
import io.winnow.core.model.CheckpointSummary.Size;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Adds up the tensors of a checkpoint for its {@link CheckpointSummary}. Used once. */
final class CheckpointCounter {
  private final CheckpointLayout layout;
  private final DecoderConfig config;
  private final TensorType computeType;
  private final Map<Part, Size> parts = new EnumMap<>(Part.class);
  private final Set<String> counted = new HashSet<>();
  private final Weights all = new Weights();
  private final Weights ofExperts = new Weights();

  /** Bytes on disk, and elements in memory: of the type to compute in, and always float32. */
  private static final class Weights {
    private long bytes;
    private long narrow;
    private long wide;

    long memory(int elementBytes) {
      return narrow * elementBytes + wide * Float.BYTES;
    }
  }

  CheckpointCounter(CheckpointLayout layout) {
    this.layout = layout;
    config = layout.config();
    computeType = layout.computeType();
    for (Part part : Part.values()) {
      parts.put(part, new Size(0, 0));
    }
  }

  CheckpointSummary summary() {
    matrix(Part.EMBEDDING, layout.embeddings().embedding());
    norm(layout.finalNorm());
    if (!layout.embeddings().isTied()) {
      matrix(Part.HEAD, layout.embeddings().head());
    }
    wide(Part.HEAD, layout.embeddings().headBias(), false);
    for (int layer = 0; layer < config.layers(); layer++) {
      layout.mixerNorms(layer).all().forEach(this::norm);
      layout.blockNorms(layer).all().forEach(this::norm);
      layout
          .mixer(layer)
          .forEach((part, weight) -> add(Part.ATTENTION, weight, !part.isMatrix(), false));
      if (config.isSparse(layer)) {
        sparse(layer);
      } else {
        for (StoredWeight weight : layout.dense(layer)) {
          add(Part.DENSE_FEED_FORWARD, weight, isBias(weight), false);
        }
      }
    }
    Map<TensorType, Long> byType = new EnumMap<>(TensorType.class);
    for (TensorInfo info : layout.checkpoint().tensors().values()) {
      byType.merge(info.type(), info.length(), Long::sum);
      if (!counted.contains(info.name())) {
        parts.computeIfPresent(
            Part.OTHER, (part, size) -> size.plus(info.elements(), info.length()));
        all.bytes += info.length();
      }
    }
    List<Integer> sparse = config.sparseLayers();
    StoredWeight[] shared = layout.shared(sparse.get(0));
    return new CheckpointSummary(
        layout.checkpoint().config().modelType(),
        layout.quantization().method(),
        config.layers(),
        sparse.size(),
        config.experts(),
        config.topK(),
        layout.routing(sparse.get(0), null).groups(),
        config.intermediateSize(),
        shared == null ? 0 : config.sharedSize(),
        computeType.name(),
        names(byType),
        parts,
        activeParameters(),
        footprints());
  }

  private static Map<String, Long> names(Map<TensorType, Long> byType) {
    Map<String, Long> names = new LinkedHashMap<>();
    byType.forEach((type, bytes) -> names.put(type.name(), bytes));
    return names;
  }

  private void sparse(int layer) {
    boolean merged = layout.isMerged();
    wide(Part.ROUTER, layout.router(layer), !merged);
    wide(Part.ROUTER, layout.routerBias(layer), !merged);
    wide(Part.ROUTER, layout.correction(layer), !merged);
    wide(Part.ROUTER, layout.routerMapping(layer), true);
    StoredWeight[] shared = layout.shared(layer);
    if (shared != null) {
      for (StoredWeight weight : shared) {
        add(Part.SHARED_EXPERTS, weight, isBias(weight), false);
      }
      wide(Part.SHARED_EXPERTS, layout.sharedGate(layer), false);
    }
    for (StoredWeight weight : layout.routedExperts(layer)) {
      // Biases of all experts are [experts, size].
      boolean bias = isBias(weight) || layout.layout() != null && weight.shape().size() == 2;
      add(Part.ROUTED_EXPERTS, weight, bias, true);
    }
  }

  private static boolean isBias(StoredWeight weight) {
    return weight.shape().size() == 1;
  }

  private void norm(CheckpointLayout.Norm norm) {
    wide(Part.NORMS, norm.weight(), false);
    wide(Part.NORMS, norm.bias(), false);
  }

  private void matrix(Part part, TensorInfo info) {
    add(part, new StoredWeight.Plain(info), false, false);
  }

  private void wide(Part part, @Nullable TensorInfo info, boolean removable) {
    if (info != null) {
      add(part, new StoredWeight.Plain(info), true, removable);
    }
  }

  private void add(Part part, StoredWeight weight, boolean wide, boolean removable) {
    long elements = weight.shape().stream().reduce(1L, Math::multiplyExact);
    long bytes = 0;
    for (TensorInfo info : weight.tensors()) {
      bytes += info.length();
      counted.add(info.name());
    }
    long length = bytes;
    parts.computeIfPresent(part, (name, size) -> size.plus(elements, length));
    for (Weights weights : removable ? List.of(all, ofExperts) : List.of(all)) {
      weights.bytes += bytes;
      weights.narrow += wide ? 0 : elements;
      weights.wide += wide ? elements : 0;
    }
  }

  private long activeParameters() {
    long active = 0;
    for (Map.Entry<Part, Size> entry : parts.entrySet()) {
      long parameters = entry.getValue().parameters();
      active +=
          switch (entry.getKey()) {
            case OTHER -> 0;
            case EMBEDDING -> layout.embeddings().isTied() ? parameters : 0;
            case ROUTED_EXPERTS ->
                parameters / storedExperts() * config.sparseLayers().size() * config.topK();
            default -> parameters;
          };
    }
    return active;
  }

  /** Returns how many experts the layers have together. */
  private long storedExperts() {
    return config.sparseLayers().stream().mapToLong(layout::experts).sum();
  }

  private List<Footprint> footprints() {
    int narrow = computeType.bytes();
    int experts = config.experts();
    long stored = storedExperts();
    List<Footprint> footprints = new ArrayList<>();
    for (int retained = experts; retained >= config.topK(); retained--) {
      if (isPossible(retained)) {
        int most = retained;
        long dropped =
            config.sparseLayers().stream()
                .mapToLong(layer -> Math.max(0, layout.experts(layer) - most))
                .sum();
        footprints.add(
            new Footprint(
                retained,
                all.bytes - ofExperts.bytes / stored * dropped,
                all.memory(narrow) - ofExperts.memory(narrow) / stored * dropped,
                all.memory(Float.BYTES) - ofExperts.memory(Float.BYTES) / stored * dropped));
      }
    }
    return footprints;
  }

  /** Returns whether the routing allows for this number of experts, as many of each group. */
  private boolean isPossible(int retained) {
    if (layout.isUneven()) {
      return true;
    }
    Routing routing = layout.routing(config.sparseLayers().get(0), null);
    int groups = routing.groups();
    if (groups == 1) {
      return true;
    }
    int size = config.experts() / groups;
    try {
      routing.retain(
          IntStream.range(0, config.experts())
              .filter(expert -> expert % size < retained / groups)
              .toArray());
      return retained % groups == 0;
    } catch (InvalidInputException e) {
      return false;
    }
  }
}
