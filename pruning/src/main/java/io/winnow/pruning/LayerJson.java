package io.winnow.pruning;

import com.google.common.base.Joiner;
import com.google.common.base.Splitter;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.winnow.pruning.PruningReport.Layer;
import io.winnow.pruning.internal.file.JsonFields;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.OptionalDouble;

/** A layer of a {@link PruningReport} as JSON: in the report, and in the state of a run on disk. */
final class LayerJson {
  private LayerJson() {}

  /**
   * Reads what {@link #write} gives, of which nothing is lost but fractions of a millisecond, and
   * the losses behind the second where not all were looked at.
   *
   * @throws JsonParseException if it is something else
   */
  static Layer read(JsonObject json) {
    List<Integer> dropped = JsonFields.integers(json, "dropped");
    OptionalDouble loss = JsonFields.optDouble(json, "loss");
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
              JsonFields.integers(json, "runner_up_dropped"),
              JsonFields.optDouble(json, "runner_up_loss").orElseThrow()));
    }
    return new Layer(
        (int) JsonFields.wholeNumber(json.get("layer"), "'layer'"),
        JsonFields.integers(json, "kept"),
        dropped,
        loss,
        JsonFields.optDouble(json, "relative_loss"),
        json.get("exact").getAsBoolean(),
        losses,
        json.has("truncated_tokens")
            ? JsonFields.wholeNumber(json.get("truncated_tokens"), "'truncated_tokens'")
            : 0,
        Duration.ofMillis(Math.round(1000 * JsonFields.optDouble(json, "seconds").orElseThrow())));
  }

  /** Returns a layer as JSON. */
  static JsonObject write(Layer layer) {
    JsonObject json = new JsonObject();
    json.addProperty("layer", layer.layer());
    json.add("kept", JsonFields.array(layer.retained()));
    json.add("dropped", JsonFields.array(layer.dropped()));
    json.addProperty("loss", layer.loss().isPresent() ? layer.loss().getAsDouble() : null);
    json.addProperty(
        "relative_loss",
        layer.relativeLoss().isPresent() ? layer.relativeLoss().getAsDouble() : null);
    json.addProperty("exact", layer.exact());
    if (layer.truncatedTokens() > 0) {
      json.addProperty("truncated_tokens", layer.truncatedTokens());
    }
    if (layer.losses().size() > 1) {
      json.add("runner_up_dropped", JsonFields.array(layer.losses().get(1).dropped()));
      json.addProperty("runner_up_loss", layer.losses().get(1).loss());
    }
    json.addProperty("seconds", JsonFields.seconds(layer.time()));
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
}
