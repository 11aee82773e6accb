package io.winnow.pruning.sparsify;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.Provenance;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.core.model.LayerSparsity;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;

/** Which share of the experts' weights is zero, and what that means for memory. Immutable. */
public final class SparsityReport {
  private final SparsityPattern pattern;
  private final long calibrationTokens;
  private final List<Layer> layers;
  private final Provenance provenance;

  SparsityReport(
      SparsityPattern pattern, long calibrationTokens, List<Layer> layers, Provenance provenance) {
    this.pattern = pattern;
    this.calibrationTokens = calibrationTokens;
    this.layers = List.copyOf(layers);
    this.provenance = provenance;
  }

  /** Returns which weights of a row became zero. */
  public SparsityPattern pattern() {
    return pattern;
  }

  /** Returns the number of tokens that the model was calibrated on. */
  public long calibrationTokens() {
    return calibrationTokens;
  }

  /** Returns one entry per MoE layer. */
  public List<Layer> layers() {
    return layers;
  }

  /** Returns how the weights were chosen. */
  public Provenance provenance() {
    return provenance;
  }

  /**
   * One layer.
   *
   * @param sparsity what was written
   * @param unreached the experts that no calibration token selects, whose weights were compared by
   *     magnitude alone, ascending
   */
  public record Layer(LayerSparsity sparsity, List<Integer> unreached) {
    /** Copies the list. */
    public Layer {
      unreached = List.copyOf(unreached);
    }
  }

  /** Returns the weights of all routed experts. */
  public long weights() {
    return layers.stream().mapToLong(layer -> layer.sparsity().weights()).sum();
  }

  /** Returns those of them that are zero. */
  public long zeros() {
    return layers.stream().mapToLong(layer -> layer.sparsity().zeros()).sum();
  }

  /** Returns the bytes that the routed experts take in the checkpoint: as many as before. */
  public long denseBytes() {
    return layers.stream().mapToLong(layer -> layer.sparsity().bytes()).sum();
  }

  /**
   * Returns the bytes that they would take in NVIDIA's format for 2:4 sparsity: half of the values,
   * and two bits of position for each. Computed only: nothing is written in this format. Empty for
   * other patterns, which have no such format.
   */
  public OptionalLong compressedBytes() {
    return pattern.isTwoOfFour()
        ? OptionalLong.of(denseBytes() / 2 + weights() / 2 * 2 / Byte.SIZE)
        : OptionalLong.empty();
  }

  /** Returns the report as JSON text. */
  public String toJson() {
    return json().toString();
  }

  private JsonObject json() {
    JsonObject json = FileKind.SPARSITY_REPORT.newJson();
    json.addProperty("version", 1);
    json.addProperty("method", provenance.method());
    json.addProperty("pattern", pattern.toString());
    json.addProperty("calibration", provenance.calibration());
    json.addProperty("calibration_tokens", calibrationTokens);
    json.addProperty("seed", provenance.seed());
    json.addProperty("source", provenance.source());
    json.addProperty("expert_weights", weights());
    json.addProperty("zeros", zeros());
    json.addProperty("expert_bytes", denseBytes());
    json.addProperty(
        "expert_bytes_if_compressed_computed_not_reached",
        compressedBytes().isPresent() ? compressedBytes().getAsLong() : null);
    JsonArray array = new JsonArray();
    for (Layer layer : layers) {
      JsonObject one = new JsonObject();
      one.addProperty("layer", layer.sparsity().layer());
      one.addProperty("weights", layer.sparsity().weights());
      one.addProperty("zeros", layer.sparsity().zeros());
      one.addProperty("bytes", layer.sparsity().bytes());
      one.add("unreached", JsonFields.array(layer.unreached()));
      array.add(one);
    }
    json.add("layers", array);
    return json;
  }

  /**
   * Writes the report as a JSON file, replacing one that is there.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public void write(Path file) throws IOException {
    JsonFiles.write(file, json());
  }

  /** Returns the report as JSON text. */
  @Override
  public String toString() {
    return toJson();
  }
}
