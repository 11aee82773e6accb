/**
 * EEP: evolutionary search for the experts that stay, and for how the others merge into them,
 * judged by the whole model on a task.
 *
 * <pre>{@code
 * SearchSpace space = SearchSpace.of(model, 4);
 * try (MergedModel merged = MergedModel.of(model, space)) {
 *   Fitness fitness = Fitness.ofModel("accuracy on mine.jsonl", merged, candidate -> accuracy(candidate));
 *   EvolutionReport report =
 *       EvolutionarySearch.builder(space, fitness)
 *           .optPruning(SearchLimit.evaluations(100))
 *           .optMerging(SearchLimit.evaluations(300))
 *           .optJournal(Path.of("journal"))
 *           .build()
 *           .run();
 *   report.write(Path.of("evolution.json"));
 * }
 * }</pre>
 */
@NullMarked
package io.winnow.pruning.evolve;

import org.jspecify.annotations.NullMarked;
