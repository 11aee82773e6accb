package io.winnow.core.internal.kernel;

import io.winnow.core.internal.kernel.array.DeviceTensor;

/**
 * The weights of a layer up to its router.
 *
 * @param mixer the sequence mixer's
 * @param junction of the feed-forward block
 * @param gate the router's, {@code [experts, hiddenSize]}
 */
public record LayerWeights(MixerWeights mixer, Junction junction, DeviceTensor gate) {}
