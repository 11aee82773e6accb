package io.winnow.pruning;

import ai.djl.Model;
import com.google.common.collect.ImmutableSortedMap;
import com.google.common.primitives.Ints;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.core.internal.routing.RetainedExperts;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Which experts stay, layer by layer: a recipe that any copy of the model can be pruned by, without
 * calibration. Immutable.
 *
 * <p>As JSON: {@code {"kind": "winnow-pruning-plan", "version": 1, "retained": {"0": [0, 2, 3],
 * ...}}}, and optionally {@code method}, {@code calibration}, {@code seed} and {@code source}. To
 * read only the experts that stay, load the model with {@code
 * MoeModels.loader(folder).optRetained(plan.retained())}.
 */
public final class PruningPlan {
  private static final int VERSION = 1;

  private final ImmutableSortedMap<Integer, List<Integer>> retained;
  private final Provenance provenance;

  private PruningPlan(Map<Integer, List<Integer>> retained, Provenance provenance) {
    ImmutableSortedMap.Builder<Integer, List<Integer>> copy = ImmutableSortedMap.naturalOrder();
    retained.forEach((layer, experts) -> copy.put(layer, List.copyOf(experts)));
    this.retained = copy.build();
    this.provenance = provenance;
  }

  /**
   * Creates a plan.
   *
   * @param retained per decoder layer the experts that stay, ascending; dense layers are left out
   * @throws InvalidInputException if it is empty
   */
  public static PruningPlan of(Map<Integer, List<Integer>> retained, Provenance provenance) {
    if (retained.isEmpty()) {
      throw new InvalidInputException("A pruning plan must name at least one layer");
    }
    return new PruningPlan(retained, provenance);
  }

  /** Returns per decoder layer the experts that stay, ascending. */
  public SortedMap<Integer, List<Integer>> retained() {
    return retained;
  }

  /** Returns how the plan was made. */
  public Provenance provenance() {
    return provenance;
  }

  /**
   * Removes all other experts from a model for good.
   *
   * @throws InvalidInputException if the plan does not fit the model, which is unchanged then
   */
  public void applyTo(Model model) {
    applyTo(MoeModel.of(model));
  }

  /** Removes all other experts from a model for good, like {@link #applyTo(Model)}. */
  public void applyTo(MoeModel model) {
    check(model);
    model.sourceDigest().ifPresent(provenance::warnIfOther);
    for (MoeLayerView layer : model.moeLayers()) {
      List<Integer> experts = retained.get(layer.layerIndex());
      if (experts != null && experts.size() < layer.numExperts()) {
        layer.retain(Ints.toArray(experts));
      }
    }
    model.recordProvenance(provenance);
  }

  private void check(MoeModel model) {
    Map<Integer, MoeLayerView> layers = new TreeMap<>();
    model.moeLayers().forEach(layer -> layers.put(layer.layerIndex(), layer));
    if (!layers.keySet().equals(retained.keySet())) {
      throw new InvalidInputException(
          "The plan is for the layers "
              + retained.keySet()
              + ", the model's MoE layers are "
              + layers.keySet()
              + "; was the plan made for another model?");
    }
    layers.forEach(
        (index, layer) ->
            RetainedExperts.check(
                index,
                layer.numExperts(),
                layer.routing().topK(),
                retained.getOrDefault(index, List.of())));
  }

  /**
   * Reads a plan from a JSON file.
   *
   * @throws InvalidInputException if the file is no plan, or of another version
   */
  public static PruningPlan read(Path file) {
    JsonObject json = FileKind.PLAN.read(file);
    try {
      JsonElement version = json.get("version");
      if (version == null || JsonFields.wholeNumber(version, "'version'") != VERSION) {
        throw new InvalidInputException(
            file + " says version " + version + "; plans of version " + VERSION + " can be read");
      }
      if (!(json.get("retained") instanceof JsonObject layers)) {
        throw new InvalidInputException(
            file + " has no object 'retained' that gives each layer's experts");
      }
      if (layers.isEmpty()) {
        throw new InvalidInputException(file + " names no layer in 'retained'");
      }
      Map<Integer, List<Integer>> retained = new TreeMap<>();
      for (Map.Entry<String, JsonElement> entry : layers.entrySet()) {
        if (retained.put(layer(entry.getKey()), experts(entry)) != null) {
          throw new JsonParseException("layer " + entry.getKey() + " occurs twice");
        }
      }
      String method = JsonFields.stringOrNull(json, "method");
      return of(
          retained,
          new Provenance(
              method == null ? "plan" : method,
              JsonFields.stringOrNull(json, "calibration"),
              json.has("seed") ? JsonFields.wholeNumber(json.get("seed"), "'seed'") : 0,
              JsonFields.stringOrNull(json, "source")));
    } catch (JsonParseException e) {
      throw new InvalidInputException(
          file + " is no pruning plan: " + e.getMessage() + "; write one with PruningPlan.write",
          e);
    }
  }

  private static int layer(String name) {
    try {
      return Integer.parseInt(name);
    } catch (NumberFormatException e) {
      throw new JsonParseException("'" + name + "' is not the number of a layer", e);
    }
  }

  private static List<Integer> experts(Map.Entry<String, JsonElement> layer) {
    String what = "an expert of layer " + layer.getKey();
    if (!(layer.getValue() instanceof JsonArray array)) {
      throw new JsonParseException(
          "layer " + layer.getKey() + " is " + layer.getValue() + ", not a list of experts");
    }
    List<Integer> experts = new ArrayList<>();
    for (JsonElement element : array) {
      long expert = JsonFields.wholeNumber(element, what);
      if (expert != (int) expert) {
        throw new JsonParseException(what + " is " + expert);
      }
      experts.add((int) expert);
    }
    return experts;
  }

  /** Returns the plan as JSON text. */
  public String toJson() {
    return json().toString();
  }

  private JsonObject json() {
    JsonObject json = FileKind.PLAN.newJson();
    json.addProperty("version", VERSION);
    json.addProperty("method", provenance.method());
    json.addProperty("calibration", provenance.calibration());
    json.addProperty("seed", provenance.seed());
    json.addProperty("source", provenance.source());
    JsonObject layers = new JsonObject();
    retained.forEach((layer, experts) -> layers.add(layer.toString(), JsonFields.array(experts)));
    json.add("retained", layers);
    return json;
  }

  /**
   * Writes the plan as a JSON file, replacing one that is there.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public void write(Path file) throws IOException {
    JsonFiles.write(file, json());
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PruningPlan that
        && retained.equals(that.retained)
        && provenance.equals(that.provenance);
  }

  @Override
  public int hashCode() {
    return 31 * retained.hashCode() + provenance.hashCode();
  }

  @Override
  public String toString() {
    return "PruningPlan" + retained;
  }
}
