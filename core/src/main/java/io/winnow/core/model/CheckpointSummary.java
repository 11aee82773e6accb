package io.winnow.core.model;

import io.winnow.core.internal.layout.CheckpointLayout;
import java.util.Collections;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a checkpoint holds, and what it would with fewer experts, by its {@code config.json} and the
 * headers of its files: {@link MoeModels#inspect} makes one. Immutable.
 */
public final class CheckpointSummary {
  private final String modelType;
  private final String quantization;
  private final int layers;
  private final int moeLayers;
  private final int experts;
  private final int topK;
  private final int groups;
  private final int expertSize;
  private final int sharedSize;
  private final String computeType;
  private final Map<String, Long> bytesByType;
  private final Map<Part, Size> parts;
  private final long activeParameters;
  private final List<Footprint> footprints;

  CheckpointSummary(
      String modelType,
      String quantization,
      int layers,
      int moeLayers,
      int experts,
      int topK,
      int groups,
      int expertSize,
      int sharedSize,
      String computeType,
      Map<String, Long> bytesByType,
      Map<Part, Size> parts,
      long activeParameters,
      List<Footprint> footprints) {
    this.modelType = modelType;
    this.quantization = quantization;
    this.layers = layers;
    this.moeLayers = moeLayers;
    this.experts = experts;
    this.topK = topK;
    this.groups = groups;
    this.expertSize = expertSize;
    this.sharedSize = sharedSize;
    this.computeType = computeType;
    this.bytesByType = Collections.unmodifiableMap(new LinkedHashMap<>(bytesByType));
    this.parts = Collections.unmodifiableMap(new EnumMap<>(parts));
    this.activeParameters = activeParameters;
    this.footprints = List.copyOf(footprints);
  }

  /** Returns what {@code model_type} in config.json says. */
  public String modelType() {
    return modelType;
  }

  /** Returns {@code none}, {@code fp8} or {@code mxfp4}. */
  public String quantization() {
    return quantization;
  }

  /** Returns the number of decoder layers. */
  public int layers() {
    return layers;
  }

  /** Returns the number of decoder layers with experts. */
  public int moeLayers() {
    return moeLayers;
  }

  /** Returns n, the experts of each such layer. */
  public int experts() {
    return experts;
  }

  /** Returns k, the experts that a token selects. */
  public int topK() {
    return topK;
  }

  /** Returns the number of groups of experts, which must stay equally large; 1 for none. */
  public int groups() {
    return groups;
  }

  /** Returns the intermediate size of an expert. */
  public int expertSize() {
    return expertSize;
  }

  /** Returns the intermediate size of the shared experts together; 0 for none. */
  public int sharedSize() {
    return sharedSize;
  }

  /**
   * Returns the type to compute in, unless the loader is given another, by its name in safetensors
   * files: {@code BF16}, {@code F16} or {@code F32}.
   */
  public String computeType() {
    return computeType;
  }

  /**
   * Returns the tensors' bytes by the name of the type that they are stored in, such as {@code
   * BF16}.
   */
  public Map<String, Long> bytesByType() {
    return bytesByType;
  }

  /** Returns what the tensors are for: all parts, whose bytes add up to those of all tensors. */
  public Map<Part, Size> parts() {
    return parts;
  }

  /**
   * Returns the number of parameters that one token is computed with: all but experts that it does
   * not select, the embedding (unless that is the head too) and {@link Part#OTHER}.
   */
  public long activeParameters() {
    return activeParameters;
  }

  /**
   * Returns what is needed with r experts a layer, for each r that pruning can choose, from n
   * downwards.
   */
  public List<Footprint> footprints() {
    return footprints;
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
    Size plus(long moreParameters, long moreBytes) {
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
    return new CheckpointCounter(layout).summary();
  }
}
