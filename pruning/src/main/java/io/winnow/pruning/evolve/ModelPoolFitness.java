package io.winnow.pruning.evolve;

import com.google.common.util.concurrent.Uninterruptibles;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.ToDoubleFunction;

/** A fitness that is measured on as many models at a time as there are. */
final class ModelPoolFitness implements Fitness {
  private final BlockingQueue<MergedModel> idle = new LinkedBlockingQueue<>();
  private final int models;
  private final ToDoubleFunction<MoeModel> measure;
  private final Fitness delegate;

  ModelPoolFitness(
      String digest,
      ExecutorService executor,
      List<MergedModel> models,
      ToDoubleFunction<MoeModel> measure) {
    if (models.isEmpty()) {
      throw new InvalidInputException("There is no model to measure on; give at least 1");
    }
    idle.addAll(models);
    this.models = models.size();
    this.measure = measure;
    delegate =
        new ExecutorFitness(
            digest, executor, models.size(), 0, individual -> () -> measured(individual));
  }

  private double measured(Individual individual) throws InterruptedException {
    MergedModel model = idle.take();
    try {
      model.apply(individual);
      return measure.applyAsDouble(model.model());
    } finally {
      idle.add(model);
    }
  }

  @Override
  public String digest() {
    return delegate.digest();
  }

  @Override
  public void evaluate(Iterator<Individual> individuals, Results results) {
    try {
      delegate.evaluate(individuals, results);
    } finally {
      // A task that was cancelled still runs until it notices; its model is not free before.
      List<MergedModel> all = new ArrayList<>();
      while (all.size() < models) {
        all.add(Uninterruptibles.takeUninterruptibly(idle));
      }
      idle.addAll(all);
    }
  }
}
