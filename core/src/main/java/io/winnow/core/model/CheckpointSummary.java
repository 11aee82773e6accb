package io.winnow.core.model;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What a checkpoint holds, and what it would with fewer experts, by its {@code config.json} and the
 * headers of its files: {@link MoeModels#inspect} makes one. Immutable.
 *
 * @param modelType {@code model_type} in config.json
 * @param quantization {@code none}, {@code fp8} or {@code mxfp4}
 * @param layers decoder layers
 * @param moeLayers those of them with experts
 * @param experts n, of each such layer
 * @param topK k, experts that a token selects
 * @param groups of experts, which must stay equally large; 1 for none
 * @param expertSize the intermediate size of an expert
 * @param sharedSize the intermediate size of the shared experts together; 0 for none
 * @param computeType the type to compute in, unless the loader is given another
 * @param bytesByType the tensors' bytes by the type they are stored in
 * @param parts what the tensors are for; all parts, their bytes add up to those of all tensors
 * @param activeParameters those that one token is computed with: all but experts that it does not
 *     select, the embedding (unless that is the head too) and {@link Part#OTHER}
 * @param footprints what is needed with r experts a layer, for each r that pruning can choose, from
 *     n downwards
 */
public record CheckpointSummary(
    String modelType,
    String quantization,
    int layers,
    int moeLayers,
    int experts,
    int topK,
    int groups,
    int expertSize,
    int sharedSize,
    TensorType computeType,
    Map<TensorType, Long> bytesByType,
    Map<Part, Size> parts,
    long activeParameters,
    List<Footprint> footprints) {

  /** Creates the summary, with its own copies. */
  public CheckpointSummary {
    bytesByType = Collections.unmodifiableMap(new EnumMap<>(bytesByType));
    parts = Collections.unmodifiableMap(new EnumMap<>(parts));
    footprints = List.copyOf(footprints);
  }

  /**
   * Returns how many experts all layers together may have for the tensors to take at most so many
   * bytes; 0 or less if they are too many without any. What holds a row for each expert, such as
   * the router, counts as an expert's. Of a checkpoint whose layers have the same number.
   */
  public long expertsWithin(long bytes) {
    Footprint whole = footprints.get(0);
    if (footprints.size() < 2) {
      return bytes < whole.bytes() ? 0 : (long) experts * moeLayers;
    }
    Footprint less = footprints.get(footprints.size() - 1);
    long perExpert =
        (whole.bytes() - less.bytes()) / ((long) (whole.retained() - less.retained()) * moeLayers);
    long dropped = Math.max(0, -Math.floorDiv(bytes - whole.bytes(), perExpert));
    return (long) experts * moeLayers - dropped;
  }

  /** What a tensor is for. */
  public enum Part {
    /** The table of token vectors, which may be the head too. */
    EMBEDDING,
    /** Projections, their biases, and norms inside the attention. */
    ATTENTION,
    /** What scores the experts. */
    ROUTER,
    /** The experts among which a token selects. */
    ROUTED_EXPERTS,
    /** Experts that every token takes, and their gate. */
    SHARED_EXPERTS,
    /** Feed-forward blocks of layers without experts. */
    DENSE_FEED_FORWARD,
    /** Norms of layers and of the output. */
    NORMS,
    /** What makes logits; empty where the embedding does. */
    HEAD,
    /** What the decoder does not use, and exports carry along; elements as they are stored. */
    OTHER
  }

  /**
   * How large something is.
   *
   * @param parameters numbers, also where several are packed into a byte; scales are none
   * @param bytes in the files, scales included
   */
  public record Size(long parameters, long bytes) {
    private Size plus(long moreParameters, long moreBytes) {
      return new Size(parameters + moreParameters, bytes + moreBytes);
    }
  }

  /**
   * What is needed with r experts in each layer.
   *
   * @param retained r
   * @param bytes of all tensors on disk
   * @param memory bytes of the weights in memory, in {@link #computeType}; on the CPU, what is
   *     stored in that type lies in the mapped files
   * @param memoryFloat32 the same in float32
   */
  public record Footprint(int retained, long bytes, long memory, long memoryFloat32) {}

  /** Returns all tensors' size. */
  public Size total() {
    Size sum = new Size(0, 0);
    for (Size part : parts.values()) {
      sum = sum.plus(part.parameters(), part.bytes());
    }
    return sum;
  }

  static CheckpointSummary of(CheckpointLayout layout) {
    return new Counter(layout).summary();
  }

  /** Adds up tensors. Used once. */
  private static final class Counter {
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

    Counter(CheckpointLayout layout) {
      this.layout = layout;
      config = layout.config();
      computeType = layout.computeType();
      for (Part part : Part.values()) {
        parts.put(part, new Size(0, 0));
      }
    }

    CheckpointSummary summary() {
      matrix(Part.EMBEDDING, layout.embedding());
      norm(layout.finalNorm());
      if (!config.tiedHead()) {
        matrix(Part.HEAD, layout.head());
      }
      wide(Part.HEAD, layout.headBias(), false);
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
          computeType,
          byType,
          parts,
          activeParameters(),
          footprints());
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
        boolean bias = layout.layout() != null && weight.shape().size() == 2;
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
              case EMBEDDING -> config.tiedHead() ? parameters : 0;
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
}
