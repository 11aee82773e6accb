package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDManager;
import ai.djl.training.ParameterStore;
import io.winnow.core.ForwardObserver;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.kernel.PassContext;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.train.MergeTraining;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What the layers share in one forward pass.
 *
 * @param manager owns the intermediate results
 * @param kernel computes
 * @param parameters gives the weights to train with; null for inference
 * @param context positions and mask
 * @param cache what layers keep of earlier tokens; null without
 * @param idle the tokens that nobody wants and that take no expert, row-major {@code [sequences,
 *     tokens]}; null without any
 * @param observer watches; null for nobody
 * @param merges per layer a merge to train, in place of what is applied; null outside of {@link
 *     MergeTraining}
 */
public record ForwardPass(
    NDManager manager,
    Kernel kernel,
    @Nullable ParameterStore parameters,
    PassContext context,
    @Nullable KeyValueCache cache,
    boolean @Nullable [] idle,
    @Nullable ForwardObserver observer,
    @Nullable Map<Integer, TrainedMerge> merges) {

  /**
   * Returns the same pass for a block that is given only the last {@code count} tokens of each
   * sequence, and that needs no sequence mixer.
   */
  ForwardPass ofLast(int count) {
    boolean[] idleOfLast = null;
    if (idle != null) {
      int[] rows = context.lastRows(count);
      idleOfLast = new boolean[rows.length];
      for (int i = 0; i < rows.length; i++) {
        idleOfLast[i] = idle[rows[i]];
      }
    }
    return new ForwardPass(
        manager, kernel, parameters, context, cache, idleOfLast, observer, merges);
  }

  DeviceTensor weight(Weight weight) {
    return parameters == null ? weight.tensor() : weight.trained(parameters, manager.getDevice());
  }
}
