package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.util.ArrayList;
import java.util.List;

/** How the routed experts of a checkpoint lie in its tensors. */
sealed interface ExpertStorage permits SingleExperts, PairedExperts, FusedExperts {
  /**
   * Returns an expert's weights: gate, up and down by rows, and their biases if there are some; or,
   * where gate and up alternate or lie in columns, both in one, down, and their biases.
   */
  List<StoredWeight> expert(int layer, int expert);

  /** Returns the weights of one expert that lie in tensors of its own; none where all are fused. */
  List<StoredWeight> own(int layer, int expert);

  /** Returns the weights that hold all experts of a layer; none where each has its own. */
  List<StoredWeight> fused(int layer);

  /** Returns the weights of all experts of a layer: fused ones, or those of each. */
  List<StoredWeight> all(int layer);

  /** Returns the storage that names describe. */
  static ExpertStorage of(StoredTensors tensors, DecoderConfig config, ExpertCounts counts) {
    ExpertNames names = tensors.names().experts();
    if (names instanceof ExpertNames.Fused fused) {
      return new FusedExperts(fused, tensors, config, counts);
    }
    return names instanceof ExpertNames.Pair pair
        ? new PairedExperts(pair, tensors, config, counts)
        : new SingleExperts((ExpertNames.Single) names, tensors, config, counts);
  }

  /** Puts gate and up, each by rows, in place of the rows of both. */
  static List<StoredWeight> halved(List<StoredWeight> weights) {
    TensorInfo both = weights.get(0).values();
    List<Long> half = List.of(both.shape().get(0) / 2, both.shape().get(1));
    List<StoredWeight> parts = new ArrayList<>();
    parts.add(new StoredWeight.Plain(part(both, 0, 2, half)));
    parts.add(new StoredWeight.Plain(part(both, 1, 2, half)));
    parts.addAll(weights.subList(1, weights.size()));
    return parts;
  }

  /** Returns one of equal parts of a tensor. */
  static TensorInfo part(TensorInfo all, int index, int parts, List<Long> shape) {
    long length = all.length() / parts;
    return new TensorInfo(
        all.name() + "[" + index + "]",
        all.type(),
        shape,
        all.file(),
        all.offset() + index * length,
        length);
  }
}
