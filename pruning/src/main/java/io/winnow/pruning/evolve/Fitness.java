package io.winnow.pruning.evolve;

import io.winnow.core.MoeModel;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutorService;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;

/**
 * What individuals are worth: accuracy, log-likelihood or any other score of the whole model on a
 * task. Higher is better.
 *
 * <p>A fitness must be deterministic: a search that is repeated, continued or divided among workers
 * gives the same result only if equal individuals are worth the same, bit for bit.
 */
public interface Fitness {
  /**
   * Returns what identifies the model and the task: evaluations are taken from a journal only if
   * this is the same.
   */
  String digest();

  /**
   * Evaluates a batch.
   *
   * @param individuals asked for the next one on the calling thread, when there is room for it:
   *     whatever is not taken yet may be evaluated by another process meanwhile
   * @param results told of every result as soon as it is known, on the calling thread, in any order
   * @throws CancellationException if the thread is interrupted, which it stays
   */
  void evaluate(Iterator<Individual> individuals, Results results);

  /** Takes results. */
  @FunctionalInterface
  interface Results {
    /** Takes the fitness of one individual. */
    void accept(Individual individual, double fitness);
  }

  /** Returns a fitness that is computed one after the other on the calling thread. */
  static Fitness of(String digest, ToDoubleFunction<Individual> function) {
    return new InlineFitness(digest, function);
  }

  /**
   * Returns a fitness that is measured on one model, on the calling thread.
   *
   * @param model stays the caller's
   * @param measure what the model with an individual applied is worth
   */
  static Fitness ofModel(String digest, MergedModel model, ToDoubleFunction<MoeModel> measure) {
    return of(
        digest,
        individual -> {
          model.apply(individual);
          return measure.applyAsDouble(model.model());
        });
  }

  /**
   * Returns a fitness that is measured on several models at a time, each by one task.
   *
   * @param executor runs at least as many tasks at a time as there are models
   * @param models equal models, at least one; they stay the caller's, and none is in use when an
   *     evaluation has ended, normally or not
   * @param measure what a model with an individual applied is worth; called by several threads
   */
  static Fitness ofModels(
      String digest,
      ExecutorService executor,
      List<MergedModel> models,
      ToDoubleFunction<MoeModel> measure) {
    return new ModelPoolFitness(digest, executor, models, measure);
  }

  /**
   * Returns a fitness that an executor computes, which may be one that spans machines; tasks are
   * serializable then: records of paths and matrices.
   *
   * @param parallelism the greatest number of tasks to have submitted at a time
   * @param retries how often a task that failed is submitted again, for executors whose machines
   *     may be lost; 0 for none
   * @param task makes the task that computes one individual's fitness
   */
  static Fitness onExecutor(
      String digest,
      ExecutorService executor,
      int parallelism,
      int retries,
      Function<Individual, ? extends Callable<Double>> task) {
    return new ExecutorFitness(digest, executor, parallelism, retries, task);
  }
}
