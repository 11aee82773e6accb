package io.winnow.pruning.internal.evolve;

/**
 * The shape of an individual.
 *
 * @param groups of layers, each with a merge
 * @param numExperts n
 * @param retained r
 */
public record Shape(int groups, int numExperts, int retained) {}
