package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import java.util.ArrayList;
import java.util.List;

/** Experts of which each has two matrices of its own: gate and up in one, and down. */
record PairedExperts(
    ExpertNames.Pair names, StoredTensors tensors, DecoderConfig config, ExpertCounts counts)
    implements ExpertStorage {
  @Override
  public List<StoredWeight> expert(int layer, int expert) {
    List<StoredWeight> stored = own(layer, expert);
    return names.layout().isAlternating() ? stored : ExpertStorage.halved(stored);
  }

  @Override
  public List<StoredWeight> own(int layer, int expert) {
    String gateUp = tensors.names().expert(layer, names.gateUp(), expert);
    String down = tensors.names().expert(layer, names.down(), expert);
    long size = 2L * config.intermediateSize();
    long hidden = config.hiddenSize();
    List<StoredWeight> stored = new ArrayList<>();
    stored.add(tensors.matrix(gateUp, size, hidden));
    stored.add(tensors.matrix(down, hidden, config.intermediateSize()));
    if (names.biased()) {
      stored.add(tensors.bias(gateUp, size));
      stored.add(tensors.bias(down, hidden));
    }
    return stored;
  }

  @Override
  public List<StoredWeight> fused(int layer) {
    return List.of();
  }

  @Override
  public List<StoredWeight> all(int layer) {
    List<StoredWeight> stored = new ArrayList<>();
    for (int expert = 0; expert < counts.of(layer); expert++) {
      stored.addAll(own(layer, expert));
    }
    return stored;
  }
}
