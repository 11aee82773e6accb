package io.winnow.core.internal.kernel;

import io.winnow.core.internal.kernel.array.DeviceTensor;

/**
 * The weights of a layer up to its router. Not part of the API.
 *
 * @param attention the attention's
 * @param moeNorm the norm before the experts
 * @param gate the router's, {@code [experts, hiddenSize]}
 */
public record LayerWeights(AttentionWeights attention, DeviceTensor moeNorm, DeviceTensor gate) {}
