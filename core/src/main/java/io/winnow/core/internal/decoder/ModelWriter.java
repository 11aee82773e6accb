package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDManager;
import ai.djl.util.Progress;
import com.google.common.primitives.Ints;
import com.google.gson.JsonObject;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.internal.checkpoint.CheckpointWriter;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.layout.CheckpointSlicer;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.routing.MappedRouting;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Writes a running model as a checkpoint: one that stock loaders read where its layers have lost
 * experts and nothing else, and one with router mappings and merged experts otherwise.
 */
public final class ModelWriter {
  private static final Logger LOGGER = LoggerFactory.getLogger(ModelWriter.class);
  private static final String NOTE =
      "Experts were merged: scores of the gate's experts are multiplied by router_mapping before the"
          + " top-k. Only Winnow reads this folder; stock loaders do not know its model_type, and"
          + " would misread it under the original one";

  private final MoeDecoder decoder;
  private final CheckpointLayout layout;
  private final int topK;

  /**
   * Creates a writer.
   *
   * @throws InvalidInputException if the layers differ in what config.json has one field for
   */
  public ModelWriter(MoeDecoder decoder) {
    this.decoder = decoder;
    layout = CheckpointLayout.of(decoder.source());
    Set<Integer> topKs = new TreeSet<>();
    for (SparseMoe layer : decoder.sparseLayers()) {
      MergedExperts.Applied applied = layer.applied();
      topKs.add(applied == null ? layer.routing().topK() : applied.routing().topK());
    }
    if (topKs.size() > 1) {
      throw new InvalidInputException(
          "The layers select different numbers of experts per token "
              + topKs
              + ", which config.json cannot say; give every layer the same");
    }
    topK = topKs.iterator().next();
  }

  public void write(Path target, @Nullable Progress progress) {
    Provenance provenance = decoder.provenance().orElse(null);
    try (NDManager scratch = decoder.runtime().manager().newSubManager()) {
      Map<String, OutputTensor> trained = withHead(decoder.trainedTensors(scratch));
      if (decoder.sparseLayers().stream().allMatch(ModelWriter::onlyPrunes)) {
        new CheckpointSlicer(layout, retained(), topK)
            .write(target, provenance, cutGates(trained), progress);
        return;
      }
      checkEven();
      if (provenance != null) {
        provenance.warnIfOther(layout.checkpoint().digest());
      }
      CheckpointWriter.Builder writer =
          CheckpointWriter.builder(layout.checkpoint())
              .setTarget(target)
              .setConfig(config(provenance, !trained.isEmpty()))
              .setTensors(tensors(scratch, trained));
      if (progress != null) {
        writer.optProgress(progress);
      }
      writer.write();
      LOGGER.warn("{}: {}", target, NOTE);
    }
  }

  /** A head that is the embedding, and stored beside it, is trained with it. */
  private Map<String, OutputTensor> withHead(Map<String, OutputTensor> trained) {
    OutputTensor embedding = trained.get(layout.embeddings().embedding().name());
    if (embedding == null || !layout.embeddings().isStoredTwice()) {
      return trained;
    }
    Map<String, OutputTensor> both = new TreeMap<>(trained);
    String name = layout.embeddings().nameOfHead();
    both.put(
        name, new OutputTensor(name, embedding.type(), embedding.shape(), embedding.segments()));
    return both;
  }

  private void checkEven() {
    Set<Integer> counts = new TreeSet<>();
    Set<Integer> rows = new TreeSet<>();
    for (SparseMoe layer : decoder.sparseLayers()) {
      MergedExperts.Applied applied = layer.applied();
      counts.add(applied == null ? layer.numExperts() : applied.merge().retained());
      rows.add(gateRows(layer));
    }
    if (counts.size() > 1 || rows.size() > 1) {
      throw new InvalidInputException(
          "The layers have different numbers of experts "
              + counts
              + ", or their gates "
              + rows
              + ", which a merged checkpoint cannot say; merge layers of the same number");
    }
  }

  private static int gateRows(SparseMoe layer) {
    MappedRouting mapping = layer.mapping();
    return mapping == null ? layer.numExperts() : mapping.numExperts();
  }

  /** Returns whether a layer without its dropped experts' rows of the gate computes the same. */
  private static boolean onlyPrunes(SparseMoe layer) {
    MergedExperts.Applied applied = layer.applied();
    if (applied == null) {
      return true;
    }
    ExpertMerge merge = applied.merge();
    return merge.isPruning()
        && (layer.routing().isRenormalized() || merge.retained() == layer.numExperts());
  }

  /** Returns, per layer, the experts that stay by their numbers in the checkpoint, ascending. */
  private Map<Integer, List<Integer>> retained() {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    for (SparseMoe layer : decoder.sparseLayers()) {
      List<Integer> experts = new ArrayList<>();
      for (int expert : ascending(layer)) {
        experts.add(layer.stored().get(expert));
      }
      retained.put(layer.layerIndex(), experts);
    }
    return retained;
  }

  private static int[] ascending(SparseMoe layer) {
    MergedExperts.Applied applied = layer.applied();
    if (applied == null) {
      return IntStream.range(0, layer.numExperts()).toArray();
    }
    int[] experts = applied.merge().retainedExperts();
    Arrays.sort(experts);
    return experts;
  }

  /** A trained gate has a row for every expert of its layer, also for those a merge drops. */
  private Map<String, OutputTensor> cutGates(Map<String, OutputTensor> trained) {
    Map<String, OutputTensor> cut = new TreeMap<>(trained);
    for (SparseMoe layer : decoder.sparseLayers()) {
      String name = layout.router(layer.layerIndex()).name();
      OutputTensor gate = trained.get(name);
      if (gate != null && layer.applied() != null && layer.mapping() == null) {
        cut.put(name, rows(gate, ascending(layer)));
      }
    }
    return cut;
  }

  private static OutputTensor rows(OutputTensor tensor, int[] rows) {
    ByteBuffer all = ((Segment.BufferSegment) tensor.segments().get(0)).data();
    int rowBytes = all.remaining() / tensor.shape().get(0).intValue();
    List<Segment> segments = new ArrayList<>();
    for (int row : rows) {
      segments.add(new Segment.BufferSegment(all.slice(row * rowBytes, rowBytes)));
    }
    List<Long> shape = new ArrayList<>(tensor.shape());
    shape.set(0, (long) rows.length);
    return new OutputTensor(tensor.name(), tensor.type(), shape, segments);
  }

  private List<OutputTensor> tensors(NDManager scratch, Map<String, OutputTensor> trained) {
    Map<String, SparseMoe> byRouter = new HashMap<>();
    Set<String> replaced = new TreeSet<>();
    for (SparseMoe layer : decoder.sparseLayers()) {
      int index = layer.layerIndex();
      byRouter.put(layout.router(index).name(), layer);
      replaced.add(layout.names().routerMapping(index));
      for (int expert = 0; expert < layout.experts(index); expert++) {
        for (StoredWeight weight : layout.expert(index, expert)) {
          weight.tensors().forEach(info -> replaced.add(info.name()));
        }
      }
    }
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : layout.checkpoint().tensors().values()) {
      SparseMoe layer = byRouter.get(info.name());
      if (layer != null) {
        tensors.add(gate(layer, info, trained));
        tensors.add(mapping(layer));
        experts(scratch, layer, trained, tensors);
      } else if (!replaced.contains(info.name())) {
        tensors.add(trained.getOrDefault(info.name(), OutputTensor.copyOf(info)));
      }
    }
    return tensors;
  }

  /** The gate as the layer has it: of a layer that lost experts before, with their rows alone. */
  private static OutputTensor gate(
      SparseMoe layer, TensorInfo info, Map<String, OutputTensor> trained) {
    OutputTensor changed = trained.get(info.name());
    if (changed != null) {
      return changed;
    }
    return layer.mapping() == null
        ? OutputTensor.rows(info, info.name(), Ints.toArray(layer.stored()))
        : OutputTensor.copyOf(info);
  }

  /** W_RM of the gate's experts: that of the merge, times that of the checkpoint. */
  private OutputTensor mapping(SparseMoe layer) {
    float[][] mapping = identity(layer.numExperts());
    MergedExperts.Applied applied = layer.applied();
    if (applied != null) {
      mapping = applied.routing().mapping();
    }
    MappedRouting ofCheckpoint = layer.mapping();
    if (ofCheckpoint != null) {
      mapping = product(mapping, ofCheckpoint.mapping());
    }
    float[] elements = new float[mapping.length * mapping[0].length];
    for (int row = 0; row < mapping.length; row++) {
      System.arraycopy(mapping[row], 0, elements, row * mapping[0].length, mapping[0].length);
    }
    return OutputTensor.ofFloats(
        layout.names().routerMapping(layer.layerIndex()),
        List.of((long) mapping.length, (long) mapping[0].length),
        elements);
  }

  private static float[][] identity(int size) {
    float[][] identity = new float[size][size];
    for (int i = 0; i < size; i++) {
      identity[i][i] = 1;
    }
    return identity;
  }

  private static float[][] product(float[][] left, float[][] right) {
    float[][] product = new float[left.length][right[0].length];
    for (int row = 0; row < product.length; row++) {
      for (int column = 0; column < product[row].length; column++) {
        double sum = 0;
        for (int i = 0; i < right.length; i++) {
          sum += (double) left[row][i] * right[i][column];
        }
        product[row][column] = (float) sum;
      }
    }
    return product;
  }

  private void experts(
      NDManager scratch,
      SparseMoe layer,
      Map<String, OutputTensor> trained,
      List<OutputTensor> tensors) {
    MergedExperts.Applied applied = layer.applied();
    int count = applied == null ? layer.numExperts() : applied.merge().retained();
    for (int row = 0; row < count; row++) {
      int original = applied == null ? row : MergedExperts.original(applied.merge(), row);
      // The names and types that the new experts have; a layer never has more than it had.
      StoredWeight[] named = layout.expert(layer.layerIndex(), row);
      if (original >= 0) {
        StoredWeight[] sources = layout.expert(layer.layerIndex(), layer.stored().get(original));
        for (int i = 0; i < sources.length; i++) {
          String name = named[i].values().name();
          OutputTensor changed = trained.get(sources[i].values().name());
          if (changed != null) {
            tensors.add(
                new OutputTensor(name, changed.type(), changed.shape(), changed.segments()));
            continue;
          }
          Map<String, String> names = CheckpointSlicer.renamed(sources[i], name);
          for (TensorInfo info : sources[i].tensors()) {
            tensors.add(OutputTensor.copyOf(info, names.getOrDefault(info.name(), name)));
          }
        }
      } else if (applied != null) {
        tensors.add(merged(scratch, named[0], applied.weights().gate().get(row)));
        tensors.add(merged(scratch, named[1], applied.weights().up().get(row)));
        tensors.add(merged(scratch, named[2], applied.weights().down().get(row)));
      }
    }
  }

  private OutputTensor merged(NDManager scratch, StoredWeight like, DeviceTensor tensor) {
    String name = like.values().name();
    // What is computed is not quantised anew; its type tells the reader so.
    TensorType type =
        like instanceof StoredWeight.Plain
            ? like.values().type()
            : layout.embeddings().embedding().type();
    ByteBuffer bytes = decoder.runtime().fusedKernel().bytes(scratch, name, tensor, type);
    return new OutputTensor(name, type, like.shape(), List.of(new Segment.BufferSegment(bytes)));
  }

  private JsonObject config(@Nullable Provenance provenance, boolean trained) {
    JsonObject config = layout.checkpoint().config().json();
    Family family = layout.family();
    SparseMoe first = decoder.sparseLayers().get(0);
    MergedExperts.Applied applied = first.applied();
    CheckpointSlicer.setModelType(config, family, true);
    CheckpointSlicer.setCounts(
        family, config, applied == null ? first.numExperts() : applied.merge().retained(), topK);
    JsonObject winnow = CheckpointSlicer.note(layout, provenance, trained);
    winnow.addProperty("note", NOTE);
    winnow.addProperty("router_experts", gateRows(first));
    CheckpointSlicer.addNote(config, winnow);
    return config;
  }
}
