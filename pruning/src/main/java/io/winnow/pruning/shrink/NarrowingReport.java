package io.winnow.pruning.shrink;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.Provenance;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.pruning.internal.file.JsonFields;
import io.winnow.pruning.internal.shrink.LayerOutcome;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** What was narrowed and repaired, and what that did to each layer. Immutable. */
public final class NarrowingReport {
  private final List<Layer> layers;
  private final boolean repaired;
  private final long calibrationTokens;
  private final Provenance provenance;
  private final Duration time;
  private final NarrowingPlan plan;

  NarrowingReport(
      List<LayerOutcome> outcomes,
      int intermediateSize,
      boolean repaired,
      long calibrationTokens,
      Provenance provenance,
      Duration time) {
    layers = outcomes.stream().map(outcome -> Layer.of(outcome, intermediateSize)).toList();
    this.repaired = repaired;
    this.calibrationTokens = calibrationTokens;
    this.provenance = provenance;
    this.time = time;
    Map<Integer, NarrowingPlan.Layer> planned = new TreeMap<>();
    outcomes.forEach(
        outcome ->
            planned.put(
                outcome.layer(), new NarrowingPlan.Layer(outcome.retained(), outcome.channels())));
    plan = NarrowingPlan.of(planned, repaired, provenance);
  }

  /**
   * What became of a layer.
   *
   * @param layer its number
   * @param experts how many stayed
   * @param width the channels that each of them kept
   * @param lambda the damping of the repair; 0 where the layer was not repaired
   * @param heldOutError what the repair left of the error on sequences that it was not fitted to,
   *     as a share of the squares; 1 where there was no repair
   * @param errorBefore the error of what the layer adds to the residual stream, before the repair,
   *     as a share of what the full model's adds (of the norms)
   * @param errorAfter the same behind the repair
   * @param fewTokens the experts that fewer than 32 tokens took, whose repair is mostly damping
   */
  public record Layer(
      int layer,
      int experts,
      int width,
      double lambda,
      double heldOutError,
      double errorBefore,
      double errorAfter,
      List<Integer> fewTokens) {
    static Layer of(LayerOutcome outcome, int intermediateSize) {
      return new Layer(
          outcome.layer(),
          outcome.retained().size(),
          outcome.channels().isEmpty() ? intermediateSize : outcome.channels().get(0).size(),
          outcome.lambda(),
          outcome.held(),
          outcome.before(),
          outcome.after(),
          List.copyOf(outcome.fewTokens()));
    }
  }

  /** Returns one entry per MoE layer, in order. */
  public List<Layer> layers() {
    return layers;
  }

  /** Returns whether last matrices were fitted anew. */
  public boolean isRepaired() {
    return repaired;
  }

  /** Returns the number of calibration tokens. */
  public long calibrationTokens() {
    return calibrationTokens;
  }

  /** Returns how it was done. */
  public Provenance provenance() {
    return provenance;
  }

  /** Returns the time of the whole run. */
  public Duration time() {
    return time;
  }

  /** Returns what stayed, as a plan that cuts other copies alike; without the repair. */
  public NarrowingPlan plan() {
    return plan;
  }

  /** Returns the report as JSON text. */
  public String toJson() {
    return json().toString();
  }

  JsonObject json() {
    JsonObject json = FileKind.NARROWING_REPORT.newJson();
    json.addProperty("version", 1);
    json.addProperty("method", provenance.method());
    json.addProperty("calibration", provenance.calibration());
    json.addProperty("calibration_tokens", calibrationTokens);
    json.addProperty("source", provenance.source());
    json.addProperty("repaired", repaired);
    json.addProperty("seconds", JsonFields.seconds(time));
    JsonArray all = new JsonArray();
    for (Layer layer : layers) {
      JsonObject one = new JsonObject();
      one.addProperty("layer", layer.layer());
      one.addProperty("experts", layer.experts());
      one.addProperty("width", layer.width());
      one.addProperty("lambda", layer.lambda());
      one.addProperty("held_out_error", layer.heldOutError());
      one.addProperty("error_before", layer.errorBefore());
      one.addProperty("error_after", layer.errorAfter());
      one.add("few_tokens", JsonFields.array(layer.fewTokens()));
      all.add(one);
    }
    json.add("layers", all);
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

  @Override
  public String toString() {
    return "NarrowingReport" + layers;
  }
}
