package io.winnow.pruning.shrink;

import ai.djl.util.Progress;
import com.google.common.collect.ImmutableSortedMap;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerCut;
import io.winnow.core.LayerSize;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.Provenance;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Which experts stay, and which of their channels, layer by layer: a recipe that any copy of the
 * checkpoint can be cut by, without calibration. Immutable.
 *
 * <p>A repair is not part of it, since that changes weights: what a plan is applied to is cut only.
 *
 * <p>As JSON: {@code {"kind": "winnow-narrowing-plan", "version": 1, "repaired": true, "layers":
 * {"0": {"retained": [0, 2], "channels": [[0, 1, 5], [2, 3, 4]]}, ...}}}, and optionally {@code
 * method}, {@code calibration}, {@code seed} and {@code source}. Where all channels stay there are
 * no {@code channels}.
 */
public final class NarrowingPlan {
  private static final int VERSION = 1;

  private final ImmutableSortedMap<Integer, Layer> layers;
  private final boolean repaired;
  private final Provenance provenance;

  /**
   * What stays of a layer.
   *
   * @param retained the experts, ascending
   * @param channels for each of them its channels, ascending and equally many; empty for all
   */
  public record Layer(List<Integer> retained, List<List<Integer>> channels) {
    public Layer {
      retained = List.copyOf(retained);
      channels = channels.stream().map(List::copyOf).toList();
      if (retained.isEmpty() || (!channels.isEmpty() && channels.size() != retained.size())) {
        throw new InvalidInputException(
            String.format(
                "A layer of a plan names %d experts and the channels of %d; name at least one"
                    + " expert, and the channels of each or of none",
                retained.size(), channels.size()));
      }
      for (List<Integer> ofExpert : channels) {
        boolean ascends = !ofExpert.isEmpty() && ofExpert.get(0) >= 0;
        for (int i = 1; i < ofExpert.size(); i++) {
          ascends &= ofExpert.get(i - 1) < ofExpert.get(i);
        }
        if (!ascends || ofExpert.size() != channels.get(0).size()) {
          throw new InvalidInputException(
              "The channels "
                  + ofExpert
                  + " of a plan are not ascending numbers, as many as of the first expert");
        }
      }
    }
  }

  private NarrowingPlan(Map<Integer, Layer> layers, boolean repaired, Provenance provenance) {
    this.layers = ImmutableSortedMap.copyOf(layers);
    this.repaired = repaired;
    this.provenance = provenance;
  }

  /**
   * Creates a plan.
   *
   * @param layers what stays of every layer that has experts
   * @param repaired whether the model that it was made with was repaired too
   */
  public static NarrowingPlan of(
      Map<Integer, Layer> layers, boolean repaired, Provenance provenance) {
    if (layers.isEmpty()) {
      throw new InvalidInputException("A narrowing plan must name at least one layer");
    }
    return new NarrowingPlan(layers, repaired, provenance);
  }

  /** Returns what stays, by layer. */
  public SortedMap<Integer, Layer> layers() {
    return layers;
  }

  /** Returns whether the model that the plan was made with was repaired besides. */
  public boolean isRepaired() {
    return repaired;
  }

  /** Returns how the plan was made. */
  public Provenance provenance() {
    return provenance;
  }

  /**
   * Writes a checkpoint that is cut as the plan says.
   *
   * @param source a checkpoint folder
   * @param target a folder that does not exist yet; it appears when it is complete
   * @throws InvalidInputException if the plan does not fit the checkpoint, or it cannot be written
   */
  public void apply(Path source, Path target, @Nullable Progress progress) {
    LayerwiseModel model = MoeModels.layerwise(source, tensor -> {});
    check(model);
    provenance.warnIfOther(model.sourceDigest());
    Map<Integer, LayerSize> sizes = new TreeMap<>();
    layers.forEach(
        (layer, of) ->
            sizes.put(
                layer,
                new LayerSize(
                    of.retained().size(),
                    of.channels().isEmpty()
                        ? model.intermediateSize()
                        : of.channels().get(0).size())));
    try (DraftFolder draft = DraftFolder.beside(target)) {
      LayerwiseModel.Output output = model.output(draft.path(), sizes, target);
      output.check();
      Progress steps = SilentProgress.unless(progress);
      steps.reset("Writing", model.layers());
      for (int layer = 0; layer < model.layers(); layer++) {
        Interruption.check("Writing was interrupted; nothing is left of it");
        Layer of = layers.get(layer);
        if (of == null) {
          output.write(layer, List.of());
        } else {
          output.write(layer, new LayerCut(of.retained(), of.channels(), List.of()));
        }
        steps.increment(1);
      }
      output.complete(provenance);
      steps.end();
    }
  }

  private void check(LayerwiseModel model) {
    Map<Integer, LayerwiseModel.MoeLayer> known = new TreeMap<>();
    model.moeLayers().forEach(layer -> known.put(layer.layer(), layer));
    if (!known.keySet().equals(layers.keySet())) {
      throw new InvalidInputException(
          String.format(
              "The plan is for the layers %s, the model's MoE layers are %s; was the plan made for"
                  + " another model?",
              layers.keySet(), known.keySet()));
    }
    layers.forEach(
        (index, layer) -> {
          LayerwiseModel.MoeLayer of = Objects.requireNonNull(known.get(index));
          Sizes.checkRetained(of, layer.retained());
          for (List<Integer> channels : layer.channels()) {
            int last = channels.get(channels.size() - 1);
            if (last >= model.intermediateSize()) {
              throw new InvalidInputException(
                  String.format(
                      "The plan names channel %d in layer %d, whose experts have the channels 0 to"
                          + " %d; was it made for another model?",
                      last, index, model.intermediateSize() - 1));
            }
          }
        });
  }

  /**
   * Returns whether a file is a plan of this kind, by what it begins with.
   *
   * @param file a JSON file
   */
  public static boolean isOne(Path file) {
    try {
      FileKind.PLAN.checkIsNoOther(file);
      return false;
    } catch (InvalidInputException e) {
      try {
        FileKind.NARROWING_PLAN.checkIsNoOther(file);
        return true;
      } catch (InvalidInputException other) {
        return false;
      }
    }
  }

  /**
   * Reads a plan from a JSON file.
   *
   * @throws InvalidInputException if the file is no plan, or of another version
   */
  public static NarrowingPlan read(Path file) {
    JsonObject json = FileKind.NARROWING_PLAN.read(file);
    try {
      long version = JsonFields.wholeNumber(json.get("version"), "'version'");
      if (version != VERSION) {
        throw new InvalidInputException(
            file + " says version " + version + "; plans of version " + VERSION + " can be read");
      }
      if (!(json.get("layers") instanceof JsonObject all) || all.isEmpty()) {
        throw new JsonParseException("there is no object 'layers' with at least one layer");
      }
      Map<Integer, Layer> layers = new TreeMap<>();
      for (Map.Entry<String, JsonElement> entry : all.entrySet()) {
        if (!(entry.getValue() instanceof JsonObject layer)) {
          throw new JsonParseException("layer " + entry.getKey() + " is no object");
        }
        layers.put(number(entry.getKey()), layer(layer));
      }
      String method = JsonFields.stringOrNull(json, "method");
      JsonElement repaired = json.get("repaired");
      return of(
          layers,
          repaired != null && repaired.isJsonPrimitive() && repaired.getAsBoolean(),
          new Provenance(
              method == null ? "plan" : method,
              JsonFields.stringOrNull(json, "calibration"),
              json.has("seed") ? JsonFields.wholeNumber(json.get("seed"), "'seed'") : 0,
              JsonFields.stringOrNull(json, "source")));
    } catch (JsonParseException e) {
      throw new InvalidInputException(
          file
              + " is no narrowing plan: "
              + e.getMessage()
              + "; write one with NarrowingPlan.write",
          e);
    }
  }

  private static int number(String name) {
    try {
      return Integer.parseInt(name);
    } catch (NumberFormatException e) {
      throw new JsonParseException("'" + name + "' is not the number of a layer", e);
    }
  }

  private static Layer layer(JsonObject json) {
    List<List<Integer>> channels = new ArrayList<>();
    if (json.has("channels")) {
      if (!(json.get("channels") instanceof JsonArray all)) {
        throw new JsonParseException("'channels' is no list");
      }
      for (JsonElement one : all) {
        JsonObject holder = new JsonObject();
        holder.add("channels", one);
        channels.add(JsonFields.integers(holder, "channels"));
      }
    }
    return new Layer(JsonFields.integers(json, "retained"), channels);
  }

  private JsonObject json() {
    JsonObject json = FileKind.NARROWING_PLAN.newJson();
    json.addProperty("version", VERSION);
    json.addProperty("method", provenance.method());
    json.addProperty("calibration", provenance.calibration());
    json.addProperty("seed", provenance.seed());
    json.addProperty("source", provenance.source());
    json.addProperty("repaired", repaired);
    if (repaired) {
      json.addProperty(
          "note",
          "The repair changed weights and is not part of the plan; a model that is cut by it is not"
              + " repaired");
    }
    JsonObject all = new JsonObject();
    layers.forEach(
        (index, layer) -> {
          JsonObject one = new JsonObject();
          one.add("retained", JsonFields.array(layer.retained()));
          if (!layer.channels().isEmpty()) {
            JsonArray channels = new JsonArray();
            layer.channels().forEach(of -> channels.add(JsonFields.array(of)));
            one.add("channels", channels);
          }
          all.add(index.toString(), one);
        });
    json.add("layers", all);
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
  public boolean equals(@Nullable Object other) {
    return other instanceof NarrowingPlan that
        && layers.equals(that.layers)
        && repaired == that.repaired
        && provenance.equals(that.provenance);
  }

  @Override
  public int hashCode() {
    return Objects.hash(layers, repaired, provenance);
  }

  @Override
  public String toString() {
    return "NarrowingPlan" + layers.keySet();
  }
}
