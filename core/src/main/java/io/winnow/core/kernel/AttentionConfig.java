package io.winnow.core.kernel;

/**
 * The shape of a layer's attention. Not part of the API.
 *
 * @param heads query heads
 * @param keyValueHeads key and value heads, a divisor of {@code heads}
 * @param headSize elements per head
 * @param scale factor of the scores, usually 1 / sqrt(headSize)
 * @param slidingWindow how many positions back a token sees, itself included; 0 for all
 */
public record AttentionConfig(
    int heads, int keyValueHeads, int headSize, double scale, int slidingWindow) {}
