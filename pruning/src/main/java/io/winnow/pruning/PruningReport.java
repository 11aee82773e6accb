package io.winnow.pruning;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.PredictionLayers;
import io.winnow.core.Provenance;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** What was removed, and what it cost. Immutable. */
public final class PruningReport {
  private final int retainedPerLayer;
  private final boolean progressive;
  private final int sequencesPerGroup;
  private final long calibrationTokens;
  private final List<Layer> layers;
  private final List<PartLoss> parts;
  private final Provenance provenance;
  private final Duration time;
  private final Optional<PredictionLayers> predictionLayers;

  PruningReport(
      int retainedPerLayer,
      boolean progressive,
      int sequencesPerGroup,
      long calibrationTokens,
      List<Layer> layers,
      List<PartLoss> parts,
      Provenance provenance,
      Duration time,
      Optional<PredictionLayers> predictionLayers) {
    this.retainedPerLayer = retainedPerLayer;
    this.progressive = progressive;
    this.sequencesPerGroup = sequencesPerGroup;
    this.calibrationTokens = calibrationTokens;
    this.layers = List.copyOf(layers);
    this.parts = List.copyOf(parts);
    this.provenance = provenance;
    this.time = time;
    this.predictionLayers = predictionLayers;
  }

  /**
   * Returns the report with what became of the prediction layers of the checkpoint that was
   * written.
   *
   * @param newPredictionLayers what {@code MoeModels.predictionLayers} says of its folder
   */
  public PruningReport withPredictionLayers(Optional<PredictionLayers> newPredictionLayers) {
    return new PruningReport(
        retainedPerLayer,
        progressive,
        sequencesPerGroup,
        calibrationTokens,
        layers,
        parts,
        provenance,
        time,
        newPredictionLayers);
  }

  /** Returns r, or the most that a layer retains where layers differ. */
  public int retainedPerLayer() {
    return retainedPerLayer;
  }

  /** Returns whether each layer was judged behind the layers pruned before it. */
  public boolean progressive() {
    return progressive;
  }

  /** Returns the sequences of one group of the loss; 0 for all tokens in one group. */
  public int sequencesPerGroup() {
    return sequencesPerGroup;
  }

  /** Returns the number of tokens that the layers were judged on. */
  public long calibrationTokens() {
    return calibrationTokens;
  }

  /** Returns one entry per MoE layer. */
  public List<Layer> layers() {
    return layers;
  }

  /** Returns what each source of a mixed calibration pays; empty if there is one. */
  public List<PartLoss> parts() {
    return parts;
  }

  /** Returns how the choice was made. */
  public Provenance provenance() {
    return provenance;
  }

  /** Returns what became of prediction layers (MTP); empty if there are none, or nobody said. */
  public Optional<PredictionLayers> predictionLayers() {
    return predictionLayers;
  }

  /** Returns the time of the whole run. */
  public Duration time() {
    return time;
  }

  /**
   * What the choice costs on one source of a mixed calibration.
   *
   * @param name of the source
   * @param tokens of it
   * @param relativeLoss the mean over the layers of the loss on these tokens, divided by the norm
   *     of the layer's output on them
   */
  public record PartLoss(String name, long tokens, double relativeLoss) {}

  /** What was removed of one layer. Immutable. */
  public static final class Layer {
    private final int layer;
    private final List<Integer> retained;
    private final List<Integer> dropped;
    private final OptionalDouble loss;
    private final OptionalDouble relativeLoss;
    private final boolean exact;
    private final List<SubsetLoss> losses;
    private final long truncatedTokens;
    private final Duration time;

    Layer(
        int layer,
        List<Integer> retained,
        List<Integer> dropped,
        OptionalDouble loss,
        OptionalDouble relativeLoss,
        boolean exact,
        List<SubsetLoss> losses,
        long truncatedTokens,
        Duration time) {
      this.layer = layer;
      this.retained = List.copyOf(retained);
      this.dropped = List.copyOf(dropped);
      this.loss = loss;
      this.relativeLoss = relativeLoss;
      this.exact = exact;
      this.losses = List.copyOf(losses);
      this.truncatedTokens = truncatedTokens;
      this.time = time;
    }

    /** Returns the number of the decoder layer. */
    public int layer() {
      return layer;
    }

    /** Returns the experts that stay, ascending. */
    public List<Integer> retained() {
      return retained;
    }

    /** Returns the experts removed, ascending. */
    public List<Integer> dropped() {
      return dropped;
    }

    /**
     * Returns the reconstruction loss of removing them (NAEE, equation 3); empty if not measured.
     */
    public OptionalDouble loss() {
      return loss;
    }

    /** Returns the loss divided by the norm of the layer's output. */
    public OptionalDouble relativeLoss() {
      return relativeLoss;
    }

    /** Returns whether no other choice is better by the method's measure. */
    public boolean exact() {
      return exact;
    }

    /**
     * Returns the losses of all subsets that were looked at, best first; the second is the
     * runner-up; empty if the method measures none.
     */
    public List<SubsetLoss> losses() {
      return losses;
    }

    /**
     * Returns the tokens of which the search knew fewer than k retained candidates, so that it went
     * by estimates; {@link #loss} itself comes from running the layer then, except where it was
     * pruned on disk or from statistics: there it is an estimate too.
     */
    public long truncatedTokens() {
      return truncatedTokens;
    }

    /** Returns the time spent on this layer. */
    public Duration time() {
      return time;
    }

    /** Returns the layer with the loss that running it gave, in place of an estimate. */
    Layer withLoss(double newLoss) {
      double relative = relativeLoss.orElseThrow();
      return new Layer(
          layer,
          retained,
          dropped,
          OptionalDouble.of(newLoss),
          OptionalDouble.of(relative == 0 ? 0 : newLoss * relative / loss.orElseThrow()),
          exact,
          losses,
          truncatedTokens,
          time);
    }

    private List<@Nullable Object> values() {
      return Arrays.asList(
          layer, retained, dropped, loss, relativeLoss, exact, losses, truncatedTokens, time);
    }

    @Override
    public boolean equals(@Nullable Object other) {
      return other instanceof Layer that && values().equals(that.values());
    }

    @Override
    public int hashCode() {
      return values().hashCode();
    }

    @Override
    public String toString() {
      return "Layer" + values();
    }
  }

  /** Returns the choice as a plan, which prunes other copies of the model alike. */
  public PruningPlan plan() {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    layers.forEach(layer -> retained.put(layer.layer(), layer.retained()));
    return PruningPlan.of(retained, provenance);
  }

  /**
   * Returns the report as JSON text. Layers whose choice is exact carry {@code losses}: an object
   * from dropped experts, ascending and separated by commas, to the loss; of all subsets, or of the
   * best two where branch and bound proved the choice.
   */
  public String toJson() {
    return json().toString();
  }

  private JsonObject json() {
    JsonObject json = FileKind.REPORT.newJson();
    json.addProperty("version", 1);
    json.addProperty("method", provenance.method());
    json.addProperty("retained_per_layer", retainedPerLayer);
    json.addProperty("progressive", progressive);
    json.addProperty("sequences_per_group", sequencesPerGroup);
    json.addProperty("calibration", provenance.calibration());
    json.addProperty("calibration_tokens", calibrationTokens);
    json.addProperty("seed", provenance.seed());
    json.addProperty("source", provenance.source());
    json.addProperty("seconds", JsonFields.seconds(time));
    predictionLayers.ifPresent(
        treatment ->
            json.addProperty("mtp", treatment == PredictionLayers.DROP ? "dropped" : "pruned"));
    JsonArray array = new JsonArray();
    layers.forEach(layer -> array.add(LayerJson.write(layer)));
    json.add("layers", array);
    if (!parts.isEmpty()) {
      JsonArray ofParts = new JsonArray();
      for (PartLoss part : parts) {
        JsonObject one = new JsonObject();
        one.addProperty("name", part.name());
        one.addProperty("tokens", part.tokens());
        one.addProperty("relative_loss", part.relativeLoss());
        ofParts.add(one);
      }
      json.add("parts", ofParts);
    }
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

  private List<@Nullable Object> values() {
    return Arrays.asList(
        retainedPerLayer,
        progressive,
        sequencesPerGroup,
        calibrationTokens,
        layers,
        parts,
        provenance,
        time,
        predictionLayers);
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof PruningReport that && values().equals(that.values());
  }

  @Override
  public int hashCode() {
    return values().hashCode();
  }

  @Override
  public String toString() {
    return "PruningReport" + values();
  }
}
