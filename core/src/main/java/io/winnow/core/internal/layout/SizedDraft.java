package io.winnow.core.internal.layout;

import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerCut;
import io.winnow.core.LayerSize;
import io.winnow.core.Provenance;
import io.winnow.core.internal.checkpoint.CheckpointDraft;
import io.winnow.core.internal.checkpoint.CheckpointWriter;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.Segment.BufferSegment;
import io.winnow.core.internal.safetensors.Segment.WrittenSegment;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A checkpoint with fewer or narrower experts that is written layer by layer: what is decided, and
 * stand-ins of the same sizes for what is not.
 */
public final class SizedDraft {
  private static final long HEADER_BYTES = 4096;

  /** Type, shape and place of a tensor as JSON, here and in the index of several files. */
  private static final long HEADER_BYTES_PER_TENSOR = 250;

  private final CheckpointLayout layout;
  private final Map<Integer, LayerSize> sizes;
  private final int width;
  private final int sharedSize;
  private final Map<Integer, List<Integer>> retained = new TreeMap<>();
  private final Map<Integer, Map<String, OutputTensor>> changed = new HashMap<>();

  /**
   * Creates it.
   *
   * @param sizes of every layer that has experts
   * @throws InvalidInputException if the checkpoint cannot have them
   */
  public SizedDraft(CheckpointLayout layout, Map<Integer, LayerSize> sizes) {
    this.layout = layout;
    this.sizes = new TreeMap<>(sizes);
    if (!this.sizes.keySet().equals(new TreeSet<>(layout.config().sparseLayers()))) {
      throw new InvalidInputException(
          String.format(
              "There are sizes for the layers %s; those with experts are %s",
              this.sizes.keySet(), layout.config().sparseLayers()));
    }
    Set<Integer> widths = new TreeSet<>();
    sizes.values().forEach(size -> widths.add(size.width()));
    if (widths.size() > 1) {
      throw new InvalidInputException(
          "Layers cannot have experts of different widths in a checkpoint, here "
              + widths
              + "; give all the same");
    }
    width = widths.iterator().next();
    ExpertWidth change = new ExpertWidth(layout, width);
    change.check();
    sharedSize = change.sharedSize();
    sizes.forEach((layer, size) -> standIn(layer, size.experts()));
  }

  /**
   * Checks that all experts of a checkpoint can keep so few channels.
   *
   * @throws InvalidInputException if not, saying why
   */
  public static void checkWidth(CheckpointLayout layout, int width) {
    new ExpertWidth(layout, width).check();
  }

  /** Notes the first experts, equally many of every group, and the first channels. */
  private void standIn(int layer, int count) {
    int groups = layout.routing(layer, null).groups();
    int groupSize = layout.experts(layer) / groups;
    List<Integer> experts =
        IntStream.range(0, layout.experts(layer))
            .filter(expert -> expert % groupSize < count / groups)
            .boxed()
            .toList();
    retained.put(layer, experts);
    List<Integer> channels = IntStream.range(0, width).boxed().toList();
    LayerCut cut =
        width == layout.config().intermediateSize()
            ? LayerCut.ofExperts(experts)
            : new LayerCut(experts, experts.stream().map(expert -> channels).toList(), List.of());
    changed.put(layer, tensors(layer, cut));
  }

  private Map<String, OutputTensor> tensors(int layer, LayerCut cut) {
    return ExpertCutter.cut(layout, layer, cut, sharedSize, SizedDraft::noMatrix);
  }

  private static ByteBuffer noMatrix(int place, boolean byColumns, TensorType type) {
    throw new IllegalStateException("A stand-in has no new matrices");
  }

  private CheckpointSlicer slicer() {
    return new CheckpointSlicer(layout, width, retained);
  }

  private Map<String, OutputTensor> allChanged() {
    Map<String, OutputTensor> all = new HashMap<>();
    changed.values().forEach(all::putAll);
    return all;
  }

  private List<OutputTensor> tensors() {
    return slicer().tensors(allChanged());
  }

  /** Returns the bytes of all tensors, and what headers take at most. */
  public long fileBytes() {
    return HEADER_BYTES
        + tensors().stream()
            .mapToLong(tensor -> tensor.length() + tensor.name().length() + HEADER_BYTES_PER_TENSOR)
            .sum();
  }

  /** Returns the elements of the routed experts of such sizes. */
  public static long expertElements(CheckpointLayout layout, Map<Integer, LayerSize> sizes) {
    long sum = 0;
    int full = layout.config().intermediateSize();
    for (Map.Entry<Integer, LayerSize> size : sizes.entrySet()) {
      StoredWeight[] expert = layout.expert(size.getKey(), 0);
      for (int i = 0; i < expert.length; i++) {
        long elements = expert[i].shape().stream().reduce(1L, Math::multiplyExact);
        // The bias of the last matrix has no channels.
        boolean ofChannels = i < 3;
        sum +=
            size.getValue().experts()
                * (ofChannels ? elements / full * size.getValue().width() : elements);
      }
    }
    return sum;
  }

  /** Returns the bytes of which computing one token needs, with the experts that it selects. */
  public long bytesPerToken() {
    long bytes = tensors().stream().mapToLong(OutputTensor::length).sum();
    if (!layout.embeddings().isTied()) {
      bytes -= layout.embeddings().embedding().length();
    }
    for (Map.Entry<Integer, LayerSize> size : sizes.entrySet()) {
      long expert = 0;
      for (StoredWeight weight : layout.expert(size.getKey(), 0)) {
        for (TensorInfo info : weight.tensors()) {
          expert += info.length();
        }
      }
      long others = size.getValue().experts() - layout.config().topK();
      bytes -= others * expert * width / layout.config().intermediateSize();
    }
    return bytes;
  }

  /**
   * Decides a layer, and writes it.
   *
   * @param newMatrix makes the bytes of last matrices that are new
   * @throws InvalidInputException if the cut is not of the layer's size
   */
  public void write(CheckpointDraft draft, int layer, LayerCut cut, NewMatrix newMatrix) {
    check(layer, cut);
    retained.put(layer, cut.retained());
    Map<String, OutputTensor> tensors = ExpertCutter.cut(layout, layer, cut, sharedSize, newMatrix);
    changed.put(layer, tensors);
    Set<String> names = names(layer);
    draft.write(slicer().tensors(allChanged()), tensor -> names.contains(tensor.name()));
    // What was fitted is not kept in memory.
    Map<String, OutputTensor> written = new HashMap<>(tensors);
    written.replaceAll(
        (name, tensor) ->
            tensor.segments().stream().anyMatch(BufferSegment.class::isInstance)
                ? new OutputTensor(
                    name,
                    tensor.type(),
                    tensor.shape(),
                    List.of(new WrittenSegment(name, tensor.length())))
                : tensor);
    changed.put(layer, written);
    draft.recall(slicer().tensors(allChanged()), tensor -> names.contains(tensor.name()));
  }

  private void check(int layer, LayerCut cut) {
    LayerSize size = sizes.get(layer);
    if (size == null
        || cut.retained().size() != size.experts()
        || cut.channels().stream().anyMatch(channels -> channels.size() != width)
        || (cut.channels().isEmpty() && width != layout.config().intermediateSize())) {
      throw new InvalidInputException(
          String.format("The cut of layer %d is not of its size, %s", layer, size));
    }
  }

  /** Writes a dense layer. */
  public void write(CheckpointDraft draft, int layer) {
    Set<String> names = names(layer);
    draft.write(slicer().tensors(allChanged()), tensor -> names.contains(tensor.name()));
  }

  /** Notes a layer that lost experts and was written by an earlier process. */
  public void recall(CheckpointDraft draft, int layer, List<Integer> experts) {
    if (!experts.isEmpty()) {
      retained.put(layer, experts);
    }
    Set<String> names = names(layer);
    draft.recall(slicer().tensors(allChanged()), tensor -> names.contains(tensor.name()));
  }

  private Set<String> names(int layer) {
    Set<String> names = new HashSet<>();
    layout.layerTensors(layer).forEach(info -> names.add(info.name()));
    return names;
  }

  /** Returns what gives the folder its name. */
  public CheckpointWriter.Builder writer(
      CheckpointDraft draft, Path target, @Nullable Provenance provenance) {
    return slicer().writer(target, provenance, allChanged()).optDraft(draft);
  }
}
