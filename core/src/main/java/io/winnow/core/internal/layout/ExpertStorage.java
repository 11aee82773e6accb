package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** How the routed experts of a checkpoint lie in its tensors. */
sealed interface ExpertStorage permits SingleExperts, FusedExperts {
  /**
   * Returns an expert's weights. Single ones, and fused rows: gate, up and down. Fused columns, and
   * MXFP4: gate and up, down, and their biases if there are some.
   */
  StoredWeight[] expert(int layer, int expert);

  /** Returns the weights that hold all experts of a layer; none where each has its own. */
  List<StoredWeight> fused(int layer);

  /** Returns the weights of all experts of a layer: fused ones, or those of each. */
  List<StoredWeight> all(int layer);

  /** Returns how fused experts are cut; null where each has tensors of its own. */
  ExpertNames.@Nullable Layout cut();

  /** Returns the storage that the family's names describe. */
  static ExpertStorage of(StoredTensors tensors, DecoderConfig config, ExpertCounts counts) {
    ExpertNames names = tensors.family().names().experts();
    return names instanceof ExpertNames.Fused fused
        ? new FusedExperts(fused, tensors, config, counts)
        : new SingleExperts((ExpertNames.Single) names, tensors, config, counts);
  }

  /** Returns {@link #cut()} of a family's names alone. */
  static ExpertNames.@Nullable Layout cutOf(Family family) {
    return family.names().experts() instanceof ExpertNames.Fused fused ? fused.layout() : null;
  }
}
