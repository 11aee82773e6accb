package io.winnow.core.internal.form;

/**
 * What all layers of a decoder have in common. Not part of the API.
 *
 * @param hiddenSize elements of a hidden state
 * @param epsilon of the norms
 * @param embeddingFactor of the tokens' embeddings
 * @param residualFactor of what attention and experts add to the residual
 * @param logitsDivisor of the head's logits
 * @param layerNorm whether norms also subtract the mean and add a bias: their weights are {@code
 *     [2, 1, hiddenSize]}, factor and bias, else {@code [hiddenSize]}
 */
public record KernelConfig(
    int hiddenSize,
    double epsilon,
    double embeddingFactor,
    double residualFactor,
    double logitsDivisor,
    boolean layerNorm) {}
