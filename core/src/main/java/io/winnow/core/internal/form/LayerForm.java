package io.winnow.core.internal.form;

/**
 * What one layer is made of: a sequence mixer, then a feed-forward block. Where their norms stand,
 * the {@link TensorNames} say.
 *
 * @param mixer mixes the tokens
 * @param sparse whether the feed-forward block has experts
 */
public record LayerForm(SequenceMixer mixer, boolean sparse) {}
