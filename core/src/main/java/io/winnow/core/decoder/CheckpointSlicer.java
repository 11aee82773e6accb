package io.winnow.core.decoder;

import ai.djl.util.Progress;
import com.google.common.primitives.Ints;
import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.RetainedExperts;
import io.winnow.core.Routing;
import io.winnow.core.WinnowVersion;
import io.winnow.core.checkpoint.CheckpointWriter;
import io.winnow.core.checkpoint.OutputTensor;
import io.winnow.core.checkpoint.TensorInfo;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * Writes a checkpoint with fewer experts: bytes of the source in another selection, never computed
 * anew.
 */
final class CheckpointSlicer {
  private final CheckpointLayout layout;
  private final Map<Integer, List<Integer>> retained;
  private final int topK;

  /**
   * Creates a slicer.
   *
   * @param retained per decoder layer the experts that stay, ascending
   * @throws InvalidInputException if a layer is missing, too small or unknown
   */
  CheckpointSlicer(CheckpointLayout layout, Map<Integer, List<Integer>> retained) {
    this(layout, retained, layout.config().topK());
  }

  /**
   * Creates a slicer that changes the top-k too.
   *
   * @param topK experts per token in the new checkpoint
   */
  CheckpointSlicer(CheckpointLayout layout, Map<Integer, List<Integer>> retained, int topK) {
    this.layout = layout;
    this.retained = retained;
    this.topK = topK;
    check(layout, retained, topK);
  }

  /** Checks what {@link #CheckpointSlicer} demands of a selection. */
  static void check(CheckpointLayout layout, Map<Integer, List<Integer>> retained, int topK) {
    DecoderConfig config = layout.config();
    List<Integer> sparse = config.sparseLayers();
    Routing routing = layout.routing(null);
    for (int layer : sparse) {
      List<Integer> experts = retained.get(layer);
      if (experts == null) {
        throw new InvalidInputException(
            "Nothing says which experts layer "
                + layer
                + " retains; the plan must name every MoE layer, it names "
                + retained.keySet());
      }
      RetainedExperts.check(layer, config.experts(), topK, experts);
      if (routing.groups() > 1) {
        routing.retain(Ints.toArray(experts));
      }
    }
    for (int layer : retained.keySet()) {
      if (layer < 0 || layer >= config.layers()) {
        throw new InvalidInputException(
            "Layer "
                + layer
                + " is not in the model, which has the layers 0 to "
                + (config.layers() - 1)
                + "; was the plan made for another model?");
      }
      if (!sparse.contains(layer)) {
        throw new InvalidInputException(
            "Layer " + layer + " has no experts; the layers with experts are " + sparse);
      }
    }
  }

  private void checkUniform() {
    Set<Integer> sizes = new TreeSet<>();
    retained.values().forEach(experts -> sizes.add(experts.size()));
    if (sizes.size() > 1) {
      throw new InvalidInputException(
          "The layers would retain different numbers of experts "
              + sizes
              + ", which config.json cannot say; retain the same number in every layer");
    }
  }

  /**
   * Writes the folder {@code target}, which must not exist.
   *
   * @param trained tensors to write instead of the source's, under the source's names; gates have
   *     the retained rows already
   */
  void write(
      Path target,
      @Nullable Provenance provenance,
      Map<String, OutputTensor> trained,
      @Nullable Progress progress) {
    if (provenance != null) {
      provenance.warnIfOther(layout.checkpoint().digest());
    }
    CheckpointWriter.Builder writer = writer(target, provenance, trained);
    if (progress != null) {
      writer.optProgress(progress);
    }
    writer.write();
  }

  /** Returns what writes the source's tensors to {@code target}. */
  CheckpointWriter.Builder writer(Path target, @Nullable Provenance provenance) {
    return writer(target, provenance, Map.of());
  }

  private CheckpointWriter.Builder writer(
      Path target, @Nullable Provenance provenance, Map<String, OutputTensor> trained) {
    checkUniform();
    return CheckpointWriter.builder(layout.checkpoint())
        .setTarget(target)
        .setConfig(config(provenance, !trained.isEmpty()))
        .setTensors(tensors(trained));
  }

  /** Returns the tensors in their order, as the source has them. */
  List<OutputTensor> tensors() {
    return tensors(Map.of());
  }

  private List<OutputTensor> tensors(Map<String, OutputTensor> trained) {
    Set<String> dropped = new HashSet<>();
    Map<String, String> renamed = new HashMap<>();
    Map<String, int[]> rows = new HashMap<>();
    retained.forEach(
        (layer, experts) -> {
          for (TensorInfo info : layout.expertRows(layer)) {
            rows.put(info.name(), Ints.toArray(experts));
          }
          if (layout.layout() != null) {
            return;
          }
          for (int expert = 0; expert < layout.config().experts(); expert++) {
            int place = experts.indexOf(expert);
            TensorInfo[] old = layout.expert(layer, expert);
            for (int i = 0; i < old.length; i++) {
              if (place < 0) {
                dropped.add(old[i].name());
              } else {
                renamed.put(old[i].name(), layout.expert(layer, place)[i].name());
              }
            }
          }
        });
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : layout.checkpoint().tensors().values()) {
      int[] kept = rows.get(info.name());
      OutputTensor changed = trained.get(info.name());
      if (changed != null) {
        String name = renamed.getOrDefault(info.name(), info.name());
        tensors.add(new OutputTensor(name, changed.type(), changed.shape(), changed.segments()));
      } else if (kept != null) {
        tensors.add(rows(info, kept));
      } else if (!dropped.contains(info.name())) {
        tensors.add(OutputTensor.copyOf(info, renamed.getOrDefault(info.name(), info.name())));
      }
    }
    return tensors;
  }

  /** Returns the experts' rows, which may lie in a single row as columns. */
  private OutputTensor rows(TensorInfo info, int[] kept) {
    if (info.shape().get(0) == layout.config().experts()) {
      return OutputTensor.rows(info, info.name(), kept);
    }
    TensorInfo column =
        new TensorInfo(
            info.name(),
            info.type(),
            List.of(info.elements()),
            info.file(),
            info.offset(),
            info.length());
    OutputTensor rows = OutputTensor.rows(column, info.name(), kept);
    return new OutputTensor(
        rows.name(), rows.type(), List.of(1L, (long) kept.length), rows.segments());
  }

  /**
   * Sets the experts per layer and per token, where a checkpoint's {@code config.json} has them.
   */
  static void setCounts(Family family, JsonObject config, int experts, int topK) {
    JsonObject decoder =
        family.section().isEmpty() ? config : config.getAsJsonObject(family.section());
    for (String field : family.expertCountFields()) {
      if (decoder.has(field) && !decoder.get(field).isJsonNull()) {
        decoder.addProperty(field, experts);
      }
    }
    decoder.addProperty(family.topKField(), topK);
  }

  private JsonObject config(@Nullable Provenance provenance, boolean trained) {
    JsonObject config = layout.checkpoint().config().json();
    setCounts(layout.family(), config, retained.values().iterator().next().size(), topK);
    JsonObject winnow = note(layout, provenance, trained);
    if (layout.isMerged()) {
      winnow.addProperty("router_experts", layout.routerExperts());
    }
    JsonObject kept = new JsonObject();
    Gson gson = new Gson();
    retained.forEach((layer, experts) -> kept.add(layer.toString(), gson.toJsonTree(experts)));
    winnow.add("retained", kept);
    addNote(config, winnow);
    return config;
  }

  /** Returns what {@code config.json} says of how a checkpoint was made. */
  static JsonObject note(
      CheckpointLayout layout, @Nullable Provenance provenance, boolean trained) {
    JsonObject winnow = new JsonObject();
    winnow.addProperty("version", WinnowVersion.get());
    if (provenance != null) {
      winnow.addProperty("method", provenance.method());
      winnow.addProperty("calibration", provenance.calibration());
      winnow.addProperty("seed", provenance.seed());
    }
    winnow.addProperty("trained", trained);
    winnow.addProperty("source", layout.checkpoint().digest());
    winnow.addProperty("experts", layout.config().experts());
    return winnow;
  }

  /** Puts a note into the content of {@code config.json}; it keeps the one that was there. */
  static void addNote(JsonObject config, JsonObject winnow) {
    JsonElement previous = config.get("winnow");
    if (previous != null) {
      winnow.add("previous", previous);
    }
    config.add("winnow", winnow);
  }
}
