package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Experts of which each has tensors of its own. */
record SingleExperts(
    ExpertNames.Single names, StoredTensors tensors, DecoderConfig config, ExpertCounts counts)
    implements ExpertStorage {
  @Override
  public StoredWeight[] expert(int layer, int expert) {
    return tensors.feedForward(
        tensors.family().names().expert(layer, names.gate(), expert),
        tensors.family().names().expert(layer, names.up(), expert),
        tensors.family().names().expert(layer, names.down(), expert),
        config.intermediateSize(),
        config.hiddenSize());
  }

  @Override
  public List<StoredWeight> fused(int layer) {
    return List.of();
  }

  @Override
  public List<StoredWeight> all(int layer) {
    List<StoredWeight> stored = new ArrayList<>();
    for (int expert = 0; expert < counts.of(layer); expert++) {
      Collections.addAll(stored, expert(layer, expert));
    }
    return stored;
  }

  @Override
  public ExpertNames.@Nullable Layout cut() {
    return null;
  }
}
