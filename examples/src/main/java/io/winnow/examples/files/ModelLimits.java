package io.winnow.examples.files;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.family.Families;
import io.winnow.core.internal.form.DecoderConfig;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * What a checkpoint's configuration says of a command's numbers before any weight is read.
 *
 * @param experts n, per layer
 * @param topK k, experts per token
 * @param maxPositions the longest sequence
 */
public record ModelLimits(int experts, int topK, int maxPositions) {
  /** Reads the configuration, and checks the headers of the weights. */
  public static ModelLimits of(Path folder) {
    Checkpoint checkpoint = Checkpoint.open(folder);
    DecoderConfig config = Families.of(checkpoint).read(checkpoint.config());
    return new ModelLimits(config.experts(), config.topK(), config.maxPositions());
  }

  /**
   * Checks what is to be retained, and the experts per token.
   *
   * @param active null for as many as the model's own
   */
  public void checkRetain(int retain, @Nullable Integer active) {
    if (active == null) {
      checkRetain(retain);
    } else if (active < 1 || active > retain || retain > experts) {
      throw new InvalidInputException(
          String.format(
              "--retain is %d and --active %d, but a layer has %d experts; use 1 <= active <= retain"
                  + " <= %d",
              retain, active, experts, experts));
    }
  }

  /** Checks what is to be retained. */
  public void checkRetain(int retain) {
    if (retain < topK || retain > experts) {
      throw new InvalidInputException(
          String.format(
              "--retain is %d, but a layer has %d experts and every token selects %d; retain %d to"
                  + " %d",
              retain, experts, topK, topK, experts));
    }
  }
}
