package io.winnow.pruning;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What pruning a checkpoint layer by layer will take. Immutable. */
public final class StreamingEstimate {
  private final Duration time;
  private final long memoryBytes;
  private final long layerBytes;
  private final long outputBytes;
  private final long temporaryBytes;

  StreamingEstimate(
      Duration time, long memoryBytes, long layerBytes, long outputBytes, long temporaryBytes) {
    this.time = time;
    this.memoryBytes = memoryBytes;
    this.layerBytes = layerBytes;
    this.outputBytes = outputBytes;
    this.temporaryBytes = temporaryBytes;
  }

  /**
   * Returns the time to compute, extrapolated from a few hundred tokens that ran through the
   * attention and one expert of the first layer with experts; dense layers and the disk come on
   * top. Zero where nothing is computed.
   */
  public Duration time() {
    return time;
  }

  /** Returns the anonymous memory beside that of the JVM and the engine. */
  public long memoryBytes() {
    return memoryBytes;
  }

  /**
   * Returns the bytes of the largest layer, which the page cache should hold (twice, to read
   * ahead).
   */
  public long layerBytes() {
    return layerBytes;
  }

  /** Returns the bytes of the pruned checkpoint. */
  public long outputBytes() {
    return outputBytes;
  }

  /** Returns the bytes of hidden states that are on the disk until the end. */
  public long temporaryBytes() {
    return temporaryBytes;
  }

  private List<@Nullable Object> values() {
    return Arrays.asList(time, memoryBytes, layerBytes, outputBytes, temporaryBytes);
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof StreamingEstimate that && values().equals(that.values());
  }

  @Override
  public int hashCode() {
    return values().hashCode();
  }

  @Override
  public String toString() {
    return "StreamingEstimate" + values();
  }
}
