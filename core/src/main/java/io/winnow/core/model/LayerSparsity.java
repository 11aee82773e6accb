package io.winnow.core.model;

/**
 * How many weights of a layer's routed experts are zero in a checkpoint.
 *
 * @param layer the number of the decoder layer
 * @param weights all weights of its routed experts
 * @param zeros those that are zero, by a mask or before
 * @param bytes what all of them take in the checkpoint
 */
public record LayerSparsity(int layer, long weights, long zeros, long bytes) {}
