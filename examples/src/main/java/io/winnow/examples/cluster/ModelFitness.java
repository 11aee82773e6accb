package io.winnow.examples.cluster;

import io.winnow.core.MoeModel;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.MergedModel;
import io.winnow.pruning.evolve.SearchSpace;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/** Applies individuals of any space to the model, one at a time. */
public final class ModelFitness implements ToDoubleFunction<Individual> {
  private final MoeModel block;
  private final ToDoubleFunction<MoeModel> measure;
  private @Nullable MergedModel merged;
  private @Nullable SearchSpace space;

  /** Takes a model, and the fitness of it as it is. */
  public ModelFitness(MoeModel block, ToDoubleFunction<MoeModel> measure) {
    this.block = block;
    this.measure = measure;
  }

  @Override
  public synchronized double applyAsDouble(Individual individual) {
    SearchSpace own =
        SearchSpace.of(block, individual.groups().get(0).retained(), individual.topK())
            .withGroups(individual.groups().size());
    if (merged == null || !own.equals(space)) {
      merged = MergedModel.of(block, own);
      space = own;
    }
    merged.apply(individual);
    return measure.applyAsDouble(block);
  }
}
