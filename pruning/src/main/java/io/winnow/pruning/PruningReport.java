package io.winnow.pruning;

import com.google.common.base.Joiner;
import com.google.common.base.Splitter;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.winnow.core.Provenance;
import io.winnow.core.internal.file.JsonFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.TreeMap;

/**
 * What was removed, and what it cost.
 *
 * @param retainedPerLayer r, or the most that a layer retains where layers differ
 * @param progressive whether each layer was judged behind the layers pruned before it
 * @param sequencesPerGroup the sequences of one group of the loss; 0 for all tokens in one group
 * @param calibrationTokens tokens the layers were judged on
 * @param layers one entry per MoE layer
 * @param parts what each source of a mixed calibration pays; empty if there is one
 * @param provenance how the choice was made
 * @param time the whole run
 */
public record PruningReport(
    int retainedPerLayer,
    boolean progressive,
    int sequencesPerGroup,
    long calibrationTokens,
    List<Layer> layers,
    List<PartLoss> parts,
    Provenance provenance,
    Duration time) {

  /** Copies the lists. */
  public PruningReport {
    layers = List.copyOf(layers);
    parts = List.copyOf(parts);
  }

  /** Creates a report of a calibration of one part. */
  public PruningReport(
      int retainedPerLayer,
      boolean progressive,
      int sequencesPerGroup,
      long calibrationTokens,
      List<Layer> layers,
      Provenance provenance,
      Duration time) {
    this(
        retainedPerLayer,
        progressive,
        sequencesPerGroup,
        calibrationTokens,
        layers,
        List.of(),
        provenance,
        time);
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

  /**
   * One layer.
   *
   * @param layer the number of the decoder layer
   * @param retained the experts that stay, ascending
   * @param dropped the experts removed, ascending
   * @param loss the reconstruction loss of removing them (NAEE, equation 3); empty if not measured
   * @param relativeLoss the loss divided by the norm of the layer's output
   * @param exact whether no other choice is better by the method's measure
   * @param losses the losses of all subsets that were looked at, best first; the second is the
   *     runner-up; empty if the method measures none
   * @param truncatedTokens the tokens of which the search knew fewer than k retained candidates, so
   *     that it went by estimates; {@code loss} itself comes from running the layer then, except
   *     where it was pruned on disk or from statistics: there it is an estimate too
   * @param time spent on this layer
   */
  public record Layer(
      int layer,
      List<Integer> retained,
      List<Integer> dropped,
      OptionalDouble loss,
      OptionalDouble relativeLoss,
      boolean exact,
      List<SubsetLoss> losses,
      long truncatedTokens,
      Duration time) {

    /** Creates a layer whose inner products were all known. */
    public Layer(
        int layer,
        List<Integer> retained,
        List<Integer> dropped,
        OptionalDouble loss,
        OptionalDouble relativeLoss,
        boolean exact,
        List<SubsetLoss> losses,
        Duration time) {
      this(layer, retained, dropped, loss, relativeLoss, exact, losses, 0, time);
    }

    /** Copies the lists. */
    public Layer {
      retained = List.copyOf(retained);
      dropped = List.copyOf(dropped);
      losses = List.copyOf(losses);
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
  }

  /** Returns the choice as a plan, which prunes other copies of the model alike. */
  public PruningPlan plan() {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    layers.forEach(layer -> retained.put(layer.layer(), layer.retained()));
    return PruningPlan.of(retained, provenance);
  }

  /**
   * Returns the report as JSON. Layers whose choice is exact carry {@code losses}: an object from
   * dropped experts, ascending and separated by commas, to the loss; of all subsets, or of the best
   * two where branch and bound proved the choice.
   */
  public JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.addProperty("version", 1);
    json.addProperty("method", provenance.method());
    json.addProperty("retained_per_layer", retainedPerLayer);
    json.addProperty("progressive", progressive);
    json.addProperty("sequences_per_group", sequencesPerGroup);
    json.addProperty("calibration", provenance.calibration());
    json.addProperty("calibration_tokens", calibrationTokens);
    json.addProperty("seed", provenance.seed());
    json.addProperty("source", provenance.source());
    json.addProperty("seconds", seconds(time));
    JsonArray array = new JsonArray();
    layers.forEach(layer -> array.add(toJson(layer)));
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
   * Reads what {@link #toJson(Layer)} gives, of which nothing is lost but fractions of a
   * millisecond, and the losses behind the second where not all were looked at.
   *
   * @throws JsonParseException if it is something else
   */
  static Layer layerOf(JsonObject json) {
    List<Integer> dropped = Json.integers(json, "dropped");
    OptionalDouble loss = Json.optDouble(json, "loss");
    List<SubsetLoss> losses = new ArrayList<>();
    if (json.get("losses") instanceof JsonObject all) {
      all.asMap()
          .forEach(
              (subset, value) ->
                  losses.add(
                      new SubsetLoss(
                          Splitter.on(',')
                              .omitEmptyStrings()
                              .splitToStream(subset)
                              .map(Integer::valueOf)
                              .toList(),
                          value.getAsDouble())));
      Collections.sort(losses);
    } else if (json.has("runner_up_dropped")) {
      losses.add(new SubsetLoss(dropped, loss.orElseThrow()));
      losses.add(
          new SubsetLoss(
              Json.integers(json, "runner_up_dropped"),
              Json.optDouble(json, "runner_up_loss").orElseThrow()));
    }
    return new Layer(
        (int) Json.wholeNumber(json.get("layer"), "'layer'"),
        Json.integers(json, "kept"),
        dropped,
        loss,
        Json.optDouble(json, "relative_loss"),
        json.get("exact").getAsBoolean(),
        losses,
        Duration.ofMillis(Math.round(1000 * Json.optDouble(json, "seconds").orElseThrow())));
  }

  static JsonObject toJson(Layer layer) {
    JsonObject json = new JsonObject();
    json.addProperty("layer", layer.layer());
    json.add("kept", Json.array(layer.retained()));
    json.add("dropped", Json.array(layer.dropped()));
    json.addProperty("loss", layer.loss().isPresent() ? layer.loss().getAsDouble() : null);
    json.addProperty(
        "relative_loss",
        layer.relativeLoss().isPresent() ? layer.relativeLoss().getAsDouble() : null);
    json.addProperty("exact", layer.exact());
    if (layer.truncatedTokens() > 0) {
      json.addProperty("truncated_tokens", layer.truncatedTokens());
    }
    if (layer.losses().size() > 1) {
      json.add("runner_up_dropped", Json.array(layer.losses().get(1).dropped()));
      json.addProperty("runner_up_loss", layer.losses().get(1).loss());
    }
    json.addProperty("seconds", seconds(layer.time()));
    if (layer.exact() && !layer.losses().isEmpty()) {
      JsonObject losses = new JsonObject();
      layer.losses().stream()
          .sorted(
              (a, b) -> new SubsetLoss(a.dropped(), 0).compareTo(new SubsetLoss(b.dropped(), 0)))
          .forEach(loss -> losses.addProperty(Joiner.on(',').join(loss.dropped()), loss.loss()));
      json.add("losses", losses);
    }
    return json;
  }

  private static double seconds(Duration time) {
    return time.toMillis() / 1000.0;
  }

  /**
   * Writes the report as a JSON file, replacing one that is there.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public void write(Path file) throws IOException {
    JsonFiles.write(file, toJson());
  }
}
