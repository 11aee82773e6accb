package io.winnow.core.decoder;

/**
 * The dimensions of a decoder, read from a checkpoint's {@code config.json} by its {@link Family}.
 *
 * @param vocabularySize token ids
 * @param hiddenSize d
 * @param layers decoder layers
 * @param heads query heads
 * @param keyValueHeads key and value heads
 * @param headSize elements per head
 * @param intermediateSize m, of one expert
 * @param experts n, per layer, as stored
 * @param topK k, experts per token
 * @param epsilon of the RMS norms
 * @param ropeTheta base of the rotary embedding
 * @param maxPositions longest sequence
 * @param slidingWindow how many positions a token sees, itself included; 0 for all
 * @param tiedHead whether the head's weight is the embedding's
 */
record DecoderConfig(
    int vocabularySize,
    int hiddenSize,
    int layers,
    int heads,
    int keyValueHeads,
    int headSize,
    int intermediateSize,
    int experts,
    int topK,
    double epsilon,
    double ropeTheta,
    int maxPositions,
    int slidingWindow,
    boolean tiedHead) {}
