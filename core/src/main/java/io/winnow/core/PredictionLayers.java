package io.winnow.core;

/**
 * What becomes of a checkpoint's prediction layers (multi-token prediction, MTP) when experts are
 * removed. These layers stand behind the decoder and guess further tokens; Winnow does not run
 * them, but loaders that do give them as many experts as the decoder's layers have (DeepSeek-V3,
 * arXiv 2412.19437, section 2.2).
 */
public enum PredictionLayers {
  /**
   * They keep the experts that the decoder's last layer with experts keeps: they have the same
   * number, and read the hidden states that this layer makes.
   */
  PRUNE,
  /** They are left out, and {@code config.json} counts none. */
  DROP
}
