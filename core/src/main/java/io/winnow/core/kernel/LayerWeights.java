package io.winnow.core.kernel;

/**
 * The weights of a layer up to its router. Not part of the API.
 *
 * @param attention norm, query, key, value (or one matrix of the three) and output
 * @param moeNorm the norm before the experts
 * @param gate the router's, {@code [experts, hiddenSize]}
 */
public record LayerWeights(TensorList attention, DeviceTensor moeNorm, DeviceTensor gate) {}
