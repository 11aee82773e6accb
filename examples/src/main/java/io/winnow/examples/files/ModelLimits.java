package io.winnow.examples.files;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.nio.file.Path;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/**
 * What a checkpoint's configuration says of a command's numbers before any weight is read. What it
 * does not say is left to the model.
 *
 * @param experts n, per layer
 * @param topK k, experts per token
 * @param maxPositions the longest sequence
 */
public record ModelLimits(OptionalInt experts, OptionalInt topK, int maxPositions) {
  /** Reads the configuration, and checks the headers of the weights. */
  public static ModelLimits of(Path folder) {
    CheckpointConfig config = Checkpoint.open(folder).config();
    return new ModelLimits(
        config.optInt("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
        config.optInt("num_experts_per_tok", "moe_k"),
        config.intOr(Integer.MAX_VALUE, "max_position_embeddings"));
  }

  /**
   * Checks what is to be retained, and the experts per token.
   *
   * @param active null for as many as the model's own
   */
  public void checkRetain(int retain, @Nullable Integer active) {
    if (active == null) {
      checkRetain(retain);
    } else if (active < 1 || active > retain || retain > experts.orElse(retain)) {
      throw new InvalidInputException(
          String.format(
              "--retain is %d and --active %d, but a layer has %d experts; use 1 <= active <= retain"
                  + " <= %d",
              retain, active, experts.orElse(retain), experts.orElse(retain)));
    }
  }

  /** Checks what is to be retained. */
  public void checkRetain(int retain) {
    if (experts.isEmpty() || topK.isEmpty()) {
      return;
    }
    int least = topK.getAsInt();
    int most = experts.getAsInt();
    if (retain < least || retain > most) {
      throw new InvalidInputException(
          String.format(
              "--retain is %d, but a layer has %d experts and every token selects %d; retain %d to"
                  + " %d",
              retain, most, least, least, most));
    }
  }
}
