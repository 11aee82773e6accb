package io.winnow.core.internal.layout;

import ai.djl.util.Progress;
import com.google.common.primitives.Ints;
import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.CheckpointWriter;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.environment.WinnowVersion;
import io.winnow.core.internal.family.Families;
import io.winnow.core.internal.form.CountFields;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.routing.RetainedExperts;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Writes a checkpoint with fewer experts: bytes of the source in another selection, never computed
 * anew.
 */
public final class CheckpointSlicer {
  private static final Logger LOGGER = LoggerFactory.getLogger(CheckpointSlicer.class);
  private static final String UNEVEN =
      "Layers have different numbers of experts. Only Winnow reads this folder; stock loaders do not"
          + " know its model_type, since they have one number for all layers";

  private final CheckpointLayout layout;
  private final Map<Integer, List<Integer>> retained;
  private final int topK;
  private final int width;

  /**
   * Creates a slicer.
   *
   * @param retained per decoder layer the experts that stay, ascending
   * @throws InvalidInputException if a layer is missing, too small or unknown
   */
  public CheckpointSlicer(CheckpointLayout layout, Map<Integer, List<Integer>> retained) {
    this(layout, retained, layout.config().topK());
  }

  /**
   * Creates a slicer for experts that are narrower in the new checkpoint, whose tensors it is
   * given.
   *
   * @param width the channels of every expert
   */
  CheckpointSlicer(CheckpointLayout layout, int width, Map<Integer, List<Integer>> retained) {
    this(layout, retained, layout.config().topK(), width);
  }

  /**
   * Creates a slicer that changes the top-k too.
   *
   * @param topK experts per token in the new checkpoint
   */
  public CheckpointSlicer(CheckpointLayout layout, Map<Integer, List<Integer>> retained, int topK) {
    this(layout, retained, topK, layout.config().intermediateSize());
  }

  private CheckpointSlicer(
      CheckpointLayout layout, Map<Integer, List<Integer>> retained, int topK, int width) {
    this.layout = layout;
    this.width = width;
    this.retained = retained;
    this.topK = topK;
    check(layout, retained, topK);
  }

  /** Checks what {@link #CheckpointSlicer} demands of a selection. */
  public static void check(
      CheckpointLayout layout, Map<Integer, List<Integer>> retained, int topK) {
    DecoderConfig config = layout.config();
    List<Integer> sparse = config.sparseLayers();
    for (int layer : sparse) {
      List<Integer> experts = retained.get(layer);
      if (experts == null) {
        throw new InvalidInputException(
            "Nothing says which experts layer "
                + layer
                + " retains; the plan must name every MoE layer, it names "
                + retained.keySet());
      }
      RetainedExperts.check(layer, layout.experts(layer), topK, experts);
      Routing routing = layout.routing(layer, null);
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

  /** Returns the number of experts that each layer retains, in the order of the layers. */
  private List<Integer> counts() {
    return layout.config().sparseLayers().stream()
        .map(layer -> retained.getOrDefault(layer, List.of()).size())
        .toList();
  }

  /** Returns whether layers retain different numbers, which stock loaders cannot read. */
  private boolean isUneven() {
    return new TreeSet<>(counts()).size() > 1;
  }

  /**
   * Writes the folder {@code target}, which must not exist.
   *
   * @param trained tensors to write instead of the source's, under the source's names; gates have
   *     the retained rows already
   */
  public void write(
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
    if (isUneven()) {
      LOGGER.warn("{}: {}", target, UNEVEN);
    }
  }

  /** Returns what writes the source's tensors to {@code target}. */
  public CheckpointWriter.Builder writer(Path target, @Nullable Provenance provenance) {
    return writer(target, provenance, Map.of());
  }

  /** Returns what writes such tensors to {@code target}. */
  CheckpointWriter.Builder writer(
      Path target, @Nullable Provenance provenance, Map<String, OutputTensor> trained) {
    if (isUneven() && layout.isMerged()) {
      throw new InvalidInputException(
          "The layers would retain different numbers of merged experts "
              + counts()
              + "; retain the same number in every layer");
    }
    return CheckpointWriter.builder(layout.checkpoint())
        .setTarget(target)
        .setConfig(config(provenance, !trained.isEmpty()))
        .setTensors(tensors(trained));
  }

  /** Returns the tensors in their order, as the source has them. */
  public List<OutputTensor> tensors() {
    return tensors(Map.of());
  }

  /**
   * Returns the tensors in their order.
   *
   * @param trained tensors in place of the source's, under the source's names
   */
  List<OutputTensor> tensors(Map<String, OutputTensor> trained) {
    Set<String> dropped = new HashSet<>();
    Map<String, String> renamed = new HashMap<>();
    Map<String, OutputTensor> cut = new HashMap<>();
    retained.forEach(
        (layer, experts) -> {
          for (TensorInfo info : layout.expertRows(layer)) {
            cut.put(info.name(), rows(info, layout.experts(layer), Ints.toArray(experts)));
          }
          for (int expert = 0; expert < layout.experts(layer); expert++) {
            int place = experts.indexOf(expert);
            List<StoredWeight> old = layout.ownOf(layer, expert);
            for (int i = 0; i < old.size(); i++) {
              if (place < 0) {
                old.get(i).tensors().forEach(info -> dropped.add(info.name()));
              } else {
                String name = layout.ownOf(layer, place).get(i).values().name();
                renamed.putAll(renamed(old.get(i), name));
              }
            }
          }
        });
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : layout.checkpoint().tensors().values()) {
      OutputTensor rows = cut.get(info.name());
      OutputTensor changed = trained.get(info.name());
      if (changed != null) {
        String name = renamed.getOrDefault(info.name(), info.name());
        tensors.add(new OutputTensor(name, changed.type(), changed.shape(), changed.segments()));
      } else if (rows != null) {
        tensors.add(rows);
      } else if (!dropped.contains(info.name())) {
        tensors.add(OutputTensor.copyOf(info, renamed.getOrDefault(info.name(), info.name())));
      }
    }
    return tensors;
  }

  /**
   * Returns the names that the tensors of a single expert's weight get, by their present ones.
   *
   * @param name the new name of its values
   */
  public static Map<String, String> renamed(StoredWeight weight, String name) {
    Map<String, String> names = new HashMap<>();
    names.put(weight.values().name(), name);
    if (weight instanceof StoredWeight.Fp8 quantized) {
      names.put(quantized.scales().name(), Quantization.scalesOf(name));
    }
    return names;
  }

  /** Returns the experts' rows, which may lie in a single row as columns. */
  private static OutputTensor rows(TensorInfo info, int experts, int[] kept) {
    if (info.shape().get(0) == experts) {
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
   * Sets the experts per layer and per token in a checkpoint's {@code config.json}, under every
   * name that it has for them.
   */
  public static void setCounts(Family family, JsonObject config, int experts, int topK) {
    JsonObject decoder =
        family.section().isEmpty() ? config : config.getAsJsonObject(family.section());
    setCount(decoder, CountFields.EXPERTS, family.expertCountFields().get(0), experts);
    setCount(decoder, CountFields.TOP_K, family.topKField(), topK);
  }

  private static void setCount(JsonObject decoder, List<String> names, String own, int count) {
    List<String> present = names.stream().filter(name -> isNumber(decoder.get(name))).toList();
    (present.isEmpty() ? List.of(own) : present).forEach(name -> decoder.addProperty(name, count));
  }

  private static boolean isNumber(@Nullable JsonElement value) {
    return value instanceof JsonPrimitive primitive && primitive.isNumber();
  }

  /**
   * Says in a checkpoint's {@code config.json} whether stock loaders may read it.
   *
   * @param ours whether only this library can
   */
  public static void setModelType(JsonObject config, Family family, boolean ours) {
    config.addProperty("model_type", (ours ? Families.OURS : "") + family.modelType());
    if (config.get("architectures") instanceof JsonArray architectures) {
      JsonArray renamed = new JsonArray();
      for (JsonElement name : architectures) {
        String plain = name.getAsString().replaceFirst("^Winnow", "");
        renamed.add(ours ? "Winnow" + plain : plain);
      }
      config.add("architectures", renamed);
    }
  }

  private JsonObject config(@Nullable Provenance provenance, boolean trained) {
    JsonObject config = layout.checkpoint().config().json();
    setCounts(layout.family(), config, Collections.max(counts()), topK);
    new ExpertWidth(layout, width).write(config);
    JsonObject winnow = note(layout, provenance, trained);
    if (width != layout.config().intermediateSize()) {
      winnow.addProperty("width", layout.config().intermediateSize());
    }
    if (layout.isMerged()) {
      int first = layout.config().sparseLayers().get(0);
      winnow.addProperty("router_experts", layout.routerExperts(first));
    } else {
      setModelType(config, layout.family(), isUneven());
    }
    if (isUneven()) {
      winnow.add("experts_per_layer", new Gson().toJsonTree(counts()));
      winnow.addProperty("note", UNEVEN);
    }
    JsonObject kept = new JsonObject();
    Gson gson = new Gson();
    retained.forEach((layer, experts) -> kept.add(layer.toString(), gson.toJsonTree(experts)));
    winnow.add("retained", kept);
    addNote(config, winnow);
    return config;
  }

  /** Returns what {@code config.json} says of how a checkpoint was made. */
  public static JsonObject note(
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
  public static void addNote(JsonObject config, JsonObject winnow) {
    JsonElement previous = config.get("winnow");
    if (previous != null) {
      winnow.add("previous", previous);
    }
    config.add("winnow", winnow);
  }
}
