package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDManager;
import io.winnow.core.ExpertMerge;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.routing.MappedRouting;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The merge that a layer runs with, and the buffers that hold its merged weights. A merged expert
 * that is one of the originals uses its tensors; the others are computed into buffers, which the
 * next merge uses again.
 */
public final class MergedExperts implements AutoCloseable {
  private final DecoderRuntime runtime;
  private final List<SparseMoe.Expert> originals;
  private final List<@Nullable Buffer> buffers = new ArrayList<>();
  private @Nullable Applied applied;

  MergedExperts(DecoderRuntime runtime, List<SparseMoe.Expert> originals) {
    this.runtime = runtime;
    this.originals = originals;
  }

  /** What the layer computes with while a merge is applied. */
  public record Applied(ExpertMerge merge, MappedRouting routing, ExpertWeights weights) {}

  /** The weights of a merged expert, and the row of W_EM that they were computed by. */
  private static final class Buffer {
    private final DeviceTensor gate;
    private final DeviceTensor up;
    private final DeviceTensor down;
    private float @Nullable [] factors;

    Buffer(Kernel kernel, NDManager manager, SparseMoe.Expert like) {
      gate = kernel.newBuffer(manager, like.gate().tensor());
      up = kernel.newBuffer(manager, like.up().tensor());
      down = kernel.newBuffer(manager, like.down().tensor());
    }

    void close() {
      gate.close();
      up.close();
      down.close();
    }
  }

  public @Nullable Applied applied() {
    return applied;
  }

  /** Computes the merged experts that are not there yet, and makes the merge the applied one. */
  void apply(ExpertMerge merge, MappedRouting routing) {
    undo();
    List<Integer> changed = new ArrayList<>();
    for (int row = 0; row < merge.retained(); row++) {
      if (original(merge, row) < 0 && !Arrays.equals(buffer(row).factors, factors(merge, row))) {
        changed.add(row);
      }
    }
    if (!changed.isEmpty()) {
      compute(merge, changed);
    }
    applied =
        new Applied(
            merge,
            routing,
            new ExpertWeights(
                tensors(merge, expert -> expert.gate().tensor(), buffer -> buffer.gate),
                tensors(merge, expert -> expert.up().tensor(), buffer -> buffer.up),
                tensors(merge, expert -> expert.down().tensor(), buffer -> buffer.down)));
  }

  private void compute(ExpertMerge merge, List<Integer> rows) {
    // Until all is written, the buffers hold nothing that a later merge may rely on.
    rows.forEach(row -> buffer(row).factors = null);
    int[] used =
        IntStream.range(0, merge.numExperts())
            .filter(i -> rows.stream().anyMatch(row -> factors(merge, row)[i] != 0))
            .toArray();
    if (used.length == 0) {
      used = new int[] {0};
    }
    float[][] factors = new float[rows.size()][used.length];
    List<SparseMoe.Expert> experts = new ArrayList<>();
    for (int i = 0; i < used.length; i++) {
      experts.add(originals.get(used[i]));
      for (int row = 0; row < factors.length; row++) {
        factors[row][i] = (float) merge.expertMerging(rows.get(row), used[i]);
      }
    }
    List<Buffer> targets = rows.stream().map(this::buffer).toList();
    try (NDManager scratch = runtime.manager().newSubManager()) {
      Kernel kernel = runtime.inferenceKernel();
      kernel.merge(
          scratch,
          experts.stream().map(expert -> expert.gate().tensor()).toList(),
          factors,
          targets.stream().map(buffer -> buffer.gate).toList());
      kernel.merge(
          scratch,
          experts.stream().map(expert -> expert.up().tensor()).toList(),
          factors,
          targets.stream().map(buffer -> buffer.up).toList());
      kernel.merge(
          scratch,
          experts.stream().map(expert -> expert.down().tensor()).toList(),
          factors,
          targets.stream().map(buffer -> buffer.down).toList());
    }
    rows.forEach(row -> buffer(row).factors = factors(merge, row));
  }

  private Buffer buffer(int row) {
    while (buffers.size() <= row) {
      buffers.add(null);
    }
    Buffer buffer = buffers.get(row);
    if (buffer == null) {
      buffer = new Buffer(runtime.inferenceKernel(), runtime.manager(), originals.get(0));
      buffers.set(row, buffer);
    }
    return buffer;
  }

  private TensorList tensors(
      ExpertMerge merge,
      Function<SparseMoe.Expert, DeviceTensor> ofOriginal,
      Function<Buffer, DeviceTensor> ofBuffer) {
    List<DeviceTensor> tensors = new ArrayList<>();
    for (int row = 0; row < merge.retained(); row++) {
      int original = original(merge, row);
      tensors.add(
          original < 0 ? ofBuffer.apply(buffer(row)) : ofOriginal.apply(originals.get(original)));
    }
    return new TensorList(tensors);
  }

  private static float[] factors(ExpertMerge merge, int row) {
    float[] factors = new float[merge.numExperts()];
    for (int expert = 0; expert < factors.length; expert++) {
      factors[expert] = (float) merge.expertMerging(row, expert);
    }
    return factors;
  }

  /** Returns the expert that this row of W_EM consists of, or -1 if it mixes several. */
  public static int original(ExpertMerge merge, int row) {
    int original = -1;
    float[] factors = factors(merge, row);
    for (int expert = 0; expert < factors.length; expert++) {
      if (factors[expert] == 1 && original < 0) {
        original = expert;
      } else if (factors[expert] != 0) {
        return -1;
      }
    }
    return original;
  }

  /** Ends the merge; the buffers stay for the next. */
  void undo() {
    if (applied != null) {
      applied.weights().close();
      applied = null;
    }
  }

  /** Ends the merge and frees the buffers. */
  @Override
  public void close() {
    undo();
    for (Buffer buffer : buffers) {
      if (buffer != null) {
        buffer.close();
      }
    }
    buffers.clear();
  }
}
