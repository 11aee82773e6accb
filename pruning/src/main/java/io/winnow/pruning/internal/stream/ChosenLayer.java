package io.winnow.pruning.internal.stream;

import com.google.gson.JsonObject;
import io.winnow.pruning.internal.file.JsonFields;
import java.util.List;

/**
 * What a layer with experts retains.
 *
 * @param layer the number of the decoder layer
 * @param retained the experts that stay, ascending
 * @param json everything that is to be reported of the choice, these two included
 */
public record ChosenLayer(int layer, List<Integer> retained, JsonObject json) {
  /** Returns a layer of a report. */
  public static ChosenLayer of(JsonObject json) {
    int layer = (int) JsonFields.wholeNumber(json.get("layer"), "'layer'");
    return new ChosenLayer(layer, JsonFields.integers(json, "kept"), json);
  }
}
