package io.winnow.core.model;

import ai.djl.util.Progress;
import com.google.common.primitives.Ints;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.internal.checkpoint.CheckpointWriter;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.layout.CheckpointSlicer;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.Segment.MaskedSegment;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/** Writes a checkpoint in which some weights of experts are zero; all else is copied as bytes. */
final class CheckpointMasker {
  private static final String NOTE =
      "Some weights of the experts are zero. They are stored like the others: the files are as large"
          + " as before";

  /** What config.json says for our own reader, and must go on to say. */
  private static final List<String> OF_READER = List.of("router_experts", "experts_per_layer");

  private final CheckpointLayout layout;

  /**
   * Creates a masker.
   *
   * @throws InvalidInputException if rows of experts' matrices are not runs of plain numbers
   */
  CheckpointMasker(CheckpointLayout layout) {
    this.layout = layout;
    layout.computeType(); // There are experts.
    if (!layout.quantization().isNone()) {
      throw new InvalidInputException(
          String.format(
              "The experts of %s are quantised (%s), and are not masked: their zeros would change the"
                  + " scales. Convert the checkpoint to BF16 first",
              layout.checkpoint().folder(), layout.quantization().method()));
    }
    if (layout.expert(layout.config().sparseLayers().get(0), 0).length % 3 != 0) {
      throw new InvalidInputException(
          String.format(
              "The experts of %s are stored transposed, or gate and up in turn, and are not masked;"
                  + " supported are rows of gate, then of up, fused or in tensors of their own",
              layout.checkpoint().folder()));
    }
  }

  /**
   * Writes the folder {@code target}, which must not exist.
   *
   * @return one entry per layer with experts
   */
  List<LayerSparsity> write(
      ExpertMask mask, Provenance provenance, Path target, @Nullable Progress progress) {
    provenance.warnIfOther(layout.checkpoint().digest());
    Map<Integer, Count> counts = new TreeMap<>();
    Map<Path, NavigableMap<Long, Segment>> matrices = new HashMap<>();
    for (int layer : layout.config().sparseLayers()) {
      Count count = new Count();
      counts.put(layer, count);
      for (int expert = 0; expert < layout.experts(layer); expert++) {
        StoredWeight[] stored = layout.expert(layer, expert);
        for (ExpertMatrix matrix : ExpertMatrix.values()) {
          TensorInfo info = stored[matrix.ordinal()].values(); // In the order of the layout.
          count.weights += info.elements();
          count.bytes += info.length();
          matrices
              .computeIfAbsent(info.file(), file -> new TreeMap<>())
              .put(info.offset(), masked(info, mask, layer, expert, matrix, count));
        }
      }
    }
    CheckpointWriter.Builder writer =
        CheckpointWriter.builder(layout.checkpoint())
            .setTarget(target)
            .setConfig(config(provenance))
            .setTensors(
                layout.checkpoint().tensors().values().stream()
                    .map(info -> tensor(info, matrices))
                    .toList());
    if (progress != null) {
      writer.optProgress(progress);
    }
    writer.write();
    List<LayerSparsity> layers = new ArrayList<>();
    counts.forEach(
        (layer, count) ->
            layers.add(new LayerSparsity(layer, count.weights, count.zeros, count.bytes)));
    return layers;
  }

  private static final class Count {
    private long weights;
    private long zeros;
    private long bytes;
  }

  private static MaskedSegment masked(
      TensorInfo info, ExpertMask mask, int layer, int expert, ExpertMatrix matrix, Count count) {
    return new MaskedSegment(
        info.file(),
        info.offset(),
        info.length(),
        info.type(),
        Ints.checkedCast(info.shape().get(1)),
        (row, values, zero) -> {
          if (Thread.currentThread().isInterrupted()) {
            throw new CancellationException("Writing masked experts was interrupted");
          }
          mask.mask(layer, expert, matrix, values, zero);
          for (int column = 0; column < values.length; column++) {
            if (!Float.isFinite(values[column])) {
              throw new InvalidInputException(
                  String.format(
                      "Element [%d, %d] of '%s' is %s: the model's weights are damaged",
                      row, column, info.name(), values[column]));
            }
            if (zero[column] || values[column] == 0) {
              count.zeros++;
            }
          }
        });
  }

  /** Returns a tensor with the matrices that lie in it, which are all of it or nothing. */
  private static OutputTensor tensor(
      TensorInfo info, Map<Path, NavigableMap<Long, Segment>> matrices) {
    NavigableMap<Long, Segment> ofFile = matrices.get(info.file());
    List<Segment> inside =
        ofFile == null
            ? List.of()
            : List.copyOf(ofFile.subMap(info.offset(), info.offset() + info.length()).values());
    return inside.isEmpty()
        ? OutputTensor.copyOf(info)
        : new OutputTensor(info.name(), info.type(), info.shape(), inside);
  }

  private JsonObject config(Provenance provenance) {
    JsonObject config = layout.checkpoint().config().json();
    JsonObject winnow = CheckpointSlicer.note(layout, provenance, false);
    winnow.addProperty("note", NOTE);
    if (config.get("winnow") instanceof JsonObject previous) {
      for (String name : OF_READER) {
        JsonElement value = previous.get(name);
        if (value != null) {
          winnow.add(name, value);
        }
      }
    }
    CheckpointSlicer.addNote(config, winnow);
    return config;
  }
}
