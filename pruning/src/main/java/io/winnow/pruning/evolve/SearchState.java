package io.winnow.pruning.evolve;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * Where a phase of a search stands. Immutable.
 *
 * @param generation the generations that are complete
 * @param evaluations the individuals evaluated in this phase, those from a journal included
 * @param evaluationsSinceBest how many of these followed the best one
 * @param best the best so far of both phases; null before the first evaluation
 * @param elapsed time since the phase began in this process
 */
public record SearchState(
    Phase phase,
    int generation,
    int evaluations,
    int evaluationsSinceBest,
    @Nullable EvaluatedIndividual best,
    Duration elapsed) {}
