package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import java.util.ArrayList;
import java.util.List;

/** Experts of which each has tensors of its own. */
record SingleExperts(
    ExpertNames.Single names, StoredTensors tensors, DecoderConfig config, ExpertCounts counts)
    implements ExpertStorage {
  @Override
  public List<StoredWeight> expert(int layer, int expert) {
    String gate = tensors.names().expert(layer, names.gate(), expert);
    String up = tensors.names().expert(layer, names.up(), expert);
    String down = tensors.names().expert(layer, names.down(), expert);
    long size = config.intermediateSize();
    long hidden = config.hiddenSize();
    List<StoredWeight> stored =
        new ArrayList<>(List.of(tensors.feedForward(gate, up, down, size, hidden)));
    if (names.biased()) {
      stored.add(tensors.bias(gate, size));
      stored.add(tensors.bias(up, size));
      stored.add(tensors.bias(down, hidden));
    }
    return stored;
  }

  @Override
  public List<StoredWeight> own(int layer, int expert) {
    return expert(layer, expert);
  }

  @Override
  public List<StoredWeight> fused(int layer) {
    return List.of();
  }

  @Override
  public List<StoredWeight> all(int layer) {
    List<StoredWeight> stored = new ArrayList<>();
    for (int expert = 0; expert < counts.of(layer); expert++) {
      stored.addAll(expert(layer, expert));
    }
    return stored;
  }
}
