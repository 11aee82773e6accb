package io.winnow.pruning.internal.evolve;

import io.winnow.core.ExpertMerge;
import java.util.List;

/**
 * The merges of an individual, and what it is worth.
 *
 * @param groups one merge per group of layers
 * @param fitness higher is better
 */
public record Evaluated(List<ExpertMerge> groups, double fitness) {}
