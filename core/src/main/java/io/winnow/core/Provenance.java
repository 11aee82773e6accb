package io.winnow.core;

import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Where a pruned model comes from; stored in the {@code winnow} object of its {@code config.json}.
 *
 * @param method the pruning method's name
 * @param calibration the calibration tokens' digest, null if none were used
 * @param seed the seed of everything random
 * @param source the digest of the checkpoint that was pruned, null if it is not known
 */
public record Provenance(
    String method, @Nullable String calibration, long seed, @Nullable String source) {
  private static final Logger LOGGER = LoggerFactory.getLogger(Provenance.class);

  /**
   * Logs a warning if a choice made on one checkpoint is about to be used on another: that may be
   * wanted (a fine-tuned copy), but the experts of a different model are not the same experts.
   */
  public void warnIfOther(String digest) {
    if (source != null && !source.equals(digest)) {
      LOGGER.warn(
          "The experts were chosen on a checkpoint with the digest {}, and are removed from one with"
              + " the digest {}",
          source,
          digest);
    }
  }
}
