package io.winnow.core.internal.layout;

import com.google.common.primitives.Floats;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Writes a family's checkpoint, in float32, in a layout that it does not have on the hub. */
final class OtherLayouts {
  /** A layout. */
  enum Target {
    /** As Transformers 5 saves the weights that it computes with. */
    TRANSFORMERS_5,
    /** As Transformers 5, but transposed. */
    TURNED,
    /** Each expert's gate_proj, up_proj and down_proj, as tools for calibration leave them. */
    SINGLE,
    /** Each expert's gate_up_projs.N and down_projs.N, as tools for training leave them. */
    PAIRS,
    /** Experts as they are, names as the base model has them. */
    WITHOUT_PREFIX
  }

  private final Target target;
  private final CheckpointLayout layout;
  private final Map<String, float[]> read = new HashMap<>();
  private final List<OutputTensor> tensors = new ArrayList<>();

  private OtherLayouts(Path source, Target target) {
    this.target = target;
    layout = CheckpointLayout.of(Checkpoint.open(source));
  }

  /** Converts a folder whose experts lie as on the hub. */
  static Path convert(Path source, Target target, Path folder) throws IOException {
    OtherLayouts other = new OtherLayouts(source, target);
    other.collect();
    Files.createDirectories(folder);
    Files.copy(source.resolve("config.json"), folder.resolve("config.json"));
    SafetensorsFile.write(
        folder.resolve("model.safetensors"), other.tensors, Map.of("format", "pt"));
    return folder;
  }

  private void collect() {
    Set<String> ofExperts = new HashSet<>();
    if (target != Target.WITHOUT_PREFIX) {
      for (int layer : layout.config().sparseLayers()) {
        layout.routedExperts(layer).forEach(weight -> ofExperts.add(weight.values().name()));
        experts(layer);
      }
    }
    for (TensorInfo info : layout.checkpoint().tensors().values()) {
      if (!ofExperts.contains(info.name())) {
        tensors.add(OutputTensor.copyOf(info, renamed(info.name())));
      }
    }
  }

  private String renamed(String name) {
    String modelType = layout.family().modelType();
    switch (target) {
      case WITHOUT_PREFIX:
        return name.replaceFirst("^((language_model\\.)?)model\\.", "$1");
      case TRANSFORMERS_5, TURNED:
        if (List.of("mixtral", "phimoe", "minimax_m2").contains(modelType)) {
          name = name.replace(".block_sparse_moe.", ".mlp.");
        }
        if (modelType.equals("phimoe")) {
          name = name.replace(".gate.weight", ".router.weight");
        }
        return name.replace(".router.layer.weight", ".router.weight")
            .replace(".mlp.moe_statics.", ".mlp.gate.moe_statics.");
      case PAIRS:
        return name.replaceFirst(
            "\\.(gate|router|router\\.layer)\\.(weight|bias)$", ".router.linear.$2");
      default:
        return name;
    }
  }

  /** An expert's gate, up and down by rows, and their biases, of which there may be none. */
  private record Expert(float[] gate, float[] up, float[] down, List<float[]> biases) {}

  private float[] values(StoredWeight weight) {
    TensorInfo part = weight.values();
    String name = part.name().replaceFirst("\\[.*", "");
    TensorInfo whole = layout.checkpoint().tensor(name);
    float[] all =
        read.computeIfAbsent(name, key -> SafetensorsFile.open(whole.file()).readFloats(key));
    int start = (int) (part.offset() - whole.offset()) / Float.BYTES;
    return Arrays.copyOfRange(all, start, start + (int) part.elements());
  }

  private Expert read(int layer, int expert) {
    StoredWeight[] stored = layout.expert(layer, expert);
    int size = layout.config().intermediateSize();
    int hidden = layout.config().hiddenSize();
    if (stored.length == 3) {
      return new Expert(values(stored[0]), values(stored[1]), values(stored[2]), List.of());
    }
    boolean alternating = stored.length == 4;
    float[] both = transposed(values(stored[0]), hidden, 2 * size);
    float[] down = transposed(values(stored[1]), size, hidden);
    List<float[]> biases = new ArrayList<>();
    if (alternating) {
      float[] bias = values(stored[2]);
      biases.add(half(bias, 1, 0, true));
      biases.add(half(bias, 1, 1, true));
      biases.add(values(stored[3]));
    }
    return new Expert(
        half(both, hidden, 0, alternating), half(both, hidden, 1, alternating), down, biases);
  }

  private static float[] transposed(float[] matrix, int rows, int columns) {
    float[] result = new float[matrix.length];
    for (int row = 0; row < rows; row++) {
      for (int column = 0; column < columns; column++) {
        result[column * rows + row] = matrix[row * columns + column];
      }
    }
    return result;
  }

  private static float[] half(float[] both, int columns, int which, boolean alternating) {
    int size = both.length / columns / 2;
    float[] half = new float[both.length / 2];
    for (int row = 0; row < size; row++) {
      int from = alternating ? 2 * row + which : which * size + row;
      System.arraycopy(both, from * columns, half, row * columns, columns);
    }
    return half;
  }

  private static float[] joined(float[] gate, float[] up, int columns, boolean alternating) {
    int size = gate.length / columns;
    float[] both = new float[2 * gate.length];
    for (int row = 0; row < size; row++) {
      int ofGate = alternating ? 2 * row : row;
      int ofUp = alternating ? 2 * row + 1 : size + row;
      System.arraycopy(gate, row * columns, both, ofGate * columns, columns);
      System.arraycopy(up, row * columns, both, ofUp * columns, columns);
    }
    return both;
  }

  private void experts(int layer) {
    List<Expert> experts = new ArrayList<>();
    for (int expert = 0; expert < layout.experts(layer); expert++) {
      experts.add(read(layer, expert));
    }
    String block = renamed(layout.names().block(layer, "experts."));
    for (int i = 0; i < experts.size() && target == Target.SINGLE; i++) {
      single(block + "experts." + i + ".", experts.get(i));
    }
    for (int i = 0; i < experts.size() && target == Target.PAIRS; i++) {
      pair(block, "." + i, experts.get(i));
    }
    if (target == Target.TRANSFORMERS_5 || target == Target.TURNED) {
      fused(block, experts);
    }
  }

  private boolean alternates() {
    return layout.layout() == ExpertNames.Layout.ALTERNATING_COLUMNS;
  }

  private void put(String name, float[] values, long... shape) {
    tensors.add(OutputTensor.ofFloats(name, Arrays.stream(shape).boxed().toList(), values));
  }

  private void single(String expert, Expert values) {
    long size = layout.config().intermediateSize();
    long hidden = layout.config().hiddenSize();
    put(expert + "gate_proj.weight", values.gate(), size, hidden);
    put(expert + "up_proj.weight", values.up(), size, hidden);
    put(expert + "down_proj.weight", values.down(), hidden, size);
    if (!values.biases().isEmpty()) {
      put(expert + "gate_proj.bias", values.biases().get(0), size);
      put(expert + "up_proj.bias", values.biases().get(1), size);
      put(expert + "down_proj.bias", values.biases().get(2), hidden);
    }
  }

  private void pair(String block, String number, Expert values) {
    int size = layout.config().intermediateSize();
    int hidden = layout.config().hiddenSize();
    float[] both = joined(values.gate(), values.up(), hidden, alternates());
    put(block + "gate_up_projs" + number + ".weight", both, 2L * size, hidden);
    put(block + "down_projs" + number + ".weight", values.down(), hidden, size);
    List<float[]> biases = values.biases();
    if (!biases.isEmpty()) {
      float[] bias = joined(biases.get(0), biases.get(1), 1, true);
      put(block + "gate_up_projs" + number + ".bias", bias, 2L * size);
      put(block + "down_projs" + number + ".bias", biases.get(2), hidden);
    }
  }

  private void fused(String block, List<Expert> experts) {
    int size = layout.config().intermediateSize();
    int hidden = layout.config().hiddenSize();
    // Transformers 5 has these two in columns, and all others in rows.
    boolean ownColumns = layout.layout() != null && layout.layout().isTransposed();
    boolean columns = ownColumns == (target == Target.TRANSFORMERS_5);
    List<float[]> gateUp = new ArrayList<>();
    List<float[]> down = new ArrayList<>();
    List<float[]> gateUpBias = new ArrayList<>();
    List<float[]> downBias = new ArrayList<>();
    for (Expert expert : experts) {
      float[] both = joined(expert.gate(), expert.up(), hidden, alternates());
      gateUp.add(columns ? transposed(both, 2 * size, hidden) : both);
      down.add(columns ? transposed(expert.down(), hidden, size) : expert.down());
      if (!expert.biases().isEmpty()) {
        gateUpBias.add(joined(expert.biases().get(0), expert.biases().get(1), 1, true));
        downBias.add(expert.biases().get(2));
      }
    }
    long count = experts.size();
    long[] wide =
        columns ? new long[] {count, hidden, 2L * size} : new long[] {count, 2L * size, hidden};
    long[] narrow = columns ? new long[] {count, size, hidden} : new long[] {count, hidden, size};
    put(block + "gate_up_proj", all(gateUp), wide);
    put(block + "down_proj", all(down), narrow);
    if (!gateUpBias.isEmpty()) {
      put(block + "gate_up_proj_bias", all(gateUpBias), count, 2L * size);
      put(block + "down_proj_bias", all(downBias), count, hidden);
    }
  }

  private static float[] all(List<float[]> parts) {
    return Floats.concat(parts.toArray(float[][]::new));
  }
}
