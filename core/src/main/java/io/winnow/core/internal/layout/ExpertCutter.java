package io.winnow.core.internal.layout;

import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerCut;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.Segment.BufferSegment;
import io.winnow.core.internal.safetensors.Segment.ColumnSegment;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;

/**
 * Cuts a layer's experts to fewer channels: bytes of the source in another selection, except of
 * last matrices that are new.
 */
final class ExpertCutter {
  private final CheckpointLayout layout;
  private final int layer;
  private final LayerCut cut;
  private final NewMatrix newMatrix;
  private final Map<String, OutputTensor> tensors = new TreeMap<>();

  private ExpertCutter(CheckpointLayout layout, int layer, LayerCut cut, NewMatrix newMatrix) {
    this.layout = layout;
    this.layer = layer;
    this.cut = cut;
    this.newMatrix = newMatrix;
  }

  /**
   * Returns the tensors that differ from the source's, under the source's names.
   *
   * @param sharedSize the channels that the shared experts get, as many as they have or more, which
   *     are zeros
   */
  static Map<String, OutputTensor> cut(
      CheckpointLayout layout, int layer, LayerCut cut, int sharedSize, NewMatrix newMatrix) {
    ExpertCutter cutter = new ExpertCutter(layout, layer, cut, newMatrix);
    if (!cut.channels().isEmpty() || !cut.down().isEmpty()) {
      cutter.experts();
    }
    if (sharedSize != layout.config().sharedSize()) {
      cutter.widenShared(sharedSize);
    }
    return cutter.tensors;
  }

  private void experts() {
    List<List<Segment>> fused = new ArrayList<>();
    int width = 0;
    for (int i = 0; i < cut.retained().size(); i++) {
      StoredWeight[] stored = layout.expert(layer, cut.retained().get(i));
      List<Integer> channels =
          cut.channels().isEmpty()
              ? IntStream.range(0, layout.config().intermediateSize()).boxed().toList()
              : cut.channels().get(i);
      width = channels.size();
      List<List<Segment>> parts = parts(i, stored, channels);
      if (layout.layout() == null) {
        for (int j = 0; j < stored.length; j++) {
          put(
              stored[j].values(),
              stored[j].values().name(),
              shape(stored[j], j, width),
              parts.get(j));
        }
        continue;
      }
      for (int j = 0; j < parts.size(); j++) {
        if (i == 0) {
          fused.add(new ArrayList<>());
        }
        fused.get(j).addAll(parts.get(j));
      }
    }
    if (layout.layout() != null) {
      putFused(fused, width);
    }
  }

  /** Returns the shape of gate, up or down of a single expert. */
  private static List<Long> shape(StoredWeight weight, int place, long width) {
    return place < 2
        ? List.of(width, weight.shape().get(1))
        : List.of(weight.shape().get(0), width);
  }

  private void putFused(List<List<Segment>> fused, long width) {
    List<StoredWeight> all = layout.routedExperts(layer);
    long hidden = hiddenSize();
    long experts = cut.retained().size();
    boolean byRows = layout.layout() == ExpertNames.Layout.ROWS;
    List<List<Long>> shapes =
        byRows
            ? List.of(List.of(experts, 2 * width, hidden), List.of(experts, hidden, width))
            : List.of(
                List.of(experts, hidden, 2 * width),
                List.of(experts, width, hidden),
                List.of(experts, 2 * width),
                List.of(experts, hidden));
    for (int j = 0; j < fused.size(); j++) {
      TensorInfo info = all.get(j).values();
      put(info, info.name(), shapes.get(j), fused.get(j));
    }
  }

  private void put(TensorInfo info, String name, List<Long> shape, List<Segment> segments) {
    tensors.put(name, new OutputTensor(name, info.type(), shape, segments));
  }

  /** Returns what an expert contributes to each tensor that it, or all of its layer, has. */
  private List<List<Segment>> parts(int place, StoredWeight[] stored, List<Integer> channels) {
    ExpertNames.Layout fused = layout.layout();
    if (fused == null || fused == ExpertNames.Layout.ROWS) {
      List<Segment> gate = rows(stored[0].values(), channels);
      List<Segment> up = rows(stored[1].values(), channels);
      List<Segment> down =
          cut.down().isEmpty()
              ? List.of(columns(stored[2].values(), channels))
              : List.of(fitted(place, channels, true, stored[2].values().type()));
      if (fused == null) {
        return List.of(gate, up, down);
      }
      List<Segment> both = new ArrayList<>(gate);
      both.addAll(up);
      return List.of(both, down);
    }
    int size = layout.config().intermediateSize();
    List<Integer> columns =
        fused == ExpertNames.Layout.COLUMNS
            ? IntStream.range(0, 2 * channels.size())
                .map(i -> channels.get(i % channels.size()) + size * (i / channels.size()))
                .boxed()
                .toList()
            : IntStream.range(0, 2 * channels.size())
                .map(i -> 2 * channels.get(i / 2) + i % 2)
                .boxed()
                .toList();
    List<List<Segment>> parts = new ArrayList<>();
    parts.add(List.of(columns(stored[0].values(), columns)));
    parts.add(
        cut.down().isEmpty()
            ? rows(stored[1].values(), channels)
            : List.of(fitted(place, channels, false, stored[1].values().type())));
    if (stored.length == 4) {
      parts.add(List.of(columns(stored[2].values(), columns)));
      parts.add(OutputTensor.copyOf(stored[3].values()).segments());
    }
    return parts;
  }

  private Segment fitted(int place, List<Integer> channels, boolean byColumns, TensorType type) {
    ByteBuffer bytes = newMatrix.bytes(place, byColumns, type);
    long expected = type.bytesOf(List.of((long) channels.size(), hiddenSize()));
    if (bytes.remaining() != expected) {
      throw new InvalidInputException(
          String.format(
              "The new last matrix of expert %d of layer %d takes %d bytes, not the %d of [%d, %d]",
              cut.retained().get(place),
              layer,
              bytes.remaining(),
              expected,
              channels.size(),
              hiddenSize()));
    }
    return new BufferSegment(bytes);
  }

  private long hiddenSize() {
    return layout.config().hiddenSize();
  }

  private static List<Segment> rows(TensorInfo info, List<Integer> channels) {
    return OutputTensor.rows(
            info, info.name(), channels.stream().mapToInt(Integer::intValue).toArray())
        .segments();
  }

  /** Returns some columns of a matrix, or elements of a vector. */
  private static Segment columns(TensorInfo info, List<Integer> columns) {
    List<Long> shape = info.shape();
    int all = shape.get(shape.size() - 1).intValue();
    return new ColumnSegment(
        info.file(), info.offset(), info.elements() / all, all, info.type(), columns);
  }

  private void widenShared(int size) {
    StoredWeight[] stored = layout.shared(layer);
    if (stored == null) {
      return;
    }
    for (int i = 0; i < stored.length; i++) {
      TensorInfo info = stored[i].values();
      List<Long> shape = new ArrayList<>(info.shape());
      List<Segment> segments;
      if (i == 2) {
        segments = List.of(columns(info, wider(shape.get(1), size)));
        shape.set(1, (long) size);
      } else if (i == 5) {
        continue; // The bias of the last matrix has no channels.
      } else {
        long zeros = (size - shape.get(0)) * (info.length() / shape.get(0));
        segments = new ArrayList<>(OutputTensor.copyOf(info).segments());
        segments.add(new BufferSegment(ByteBuffer.allocate(Math.toIntExact(zeros))));
        shape.set(0, (long) size);
      }
      put(info, info.name(), shape, segments);
    }
  }

  private static List<Integer> wider(long from, int to) {
    return IntStream.range(0, to)
        .map(column -> column < from ? column : ColumnSegment.ZERO)
        .boxed()
        .toList();
  }
}
