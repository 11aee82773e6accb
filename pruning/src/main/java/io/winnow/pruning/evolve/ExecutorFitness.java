package io.winnow.pruning.evolve;

import com.google.common.base.Throwables;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.pruning.internal.evolve.Journal;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A fitness that tasks on an executor compute, a limited number at a time. */
final class ExecutorFitness implements Fitness {
  private static final Logger LOGGER = LoggerFactory.getLogger(ExecutorFitness.class);
  private static final long POLL_MILLIS = 5;

  private final String digest;
  private final ExecutorService executor;
  private final int parallelism;
  private final int retries;
  private final Function<Individual, ? extends Callable<Double>> task;

  ExecutorFitness(
      String digest,
      ExecutorService executor,
      int parallelism,
      int retries,
      Function<Individual, ? extends Callable<Double>> task) {
    if (parallelism < 1 || retries < 0) {
      throw new InvalidInputException(
          "Parallelism is "
              + parallelism
              + " and retries are "
              + retries
              + "; use at least 1 and at least 0");
    }
    this.digest = digest;
    this.executor = executor;
    this.parallelism = parallelism;
    this.retries = retries;
    this.task = task;
  }

  @Override
  public String digest() {
    return digest;
  }

  /** A task that was submitted, for the n-th time. */
  private record Attempt(Individual individual, Future<Double> future, int number) {}

  @Override
  public void evaluate(Iterator<Individual> individuals, Results results) {
    Map<Future<Double>, Attempt> running = new HashMap<>();
    try {
      do {
        Interruption.check(Journal.INTERRUPTED);
        while (running.size() < parallelism && individuals.hasNext()) {
          submit(individuals.next(), 0, running);
        }
        Attempt done = anyDone(running);
        if (done != null) {
          running.remove(done.future());
          finish(done, running, results);
        }
      } while (!running.isEmpty());
    } finally {
      running.keySet().forEach(future -> future.cancel(true));
    }
  }

  private void submit(Individual individual, int number, Map<Future<Double>, Attempt> running) {
    Future<Double> future = executor.submit(task.apply(individual));
    running.put(future, new Attempt(individual, future, number));
  }

  /**
   * Waits a moment for a task to end. An ExecutorCompletionService would not do: it wraps tasks in
   * what cannot be sent to another machine.
   */
  private static @Nullable Attempt anyDone(Map<Future<Double>, Attempt> running) {
    for (Attempt attempt : running.values()) {
      if (attempt.future().isDone()) {
        return attempt;
      }
    }
    for (Attempt attempt : running.values()) { // Of any one; all are looked at next time.
      try {
        attempt.future().get(POLL_MILLIS, TimeUnit.MILLISECONDS);
        return attempt;
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return null;
      } catch (ExecutionException | CancellationException e) {
        return attempt;
      } catch (TimeoutException e) {
        return null;
      }
    }
    return null;
  }

  private void finish(Attempt done, Map<Future<Double>, Attempt> running, Results results) {
    try {
      results.accept(done.individual(), done.future().get());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      Interruption.check(Journal.INTERRUPTED);
    } catch (ExecutionException | CancellationException e) {
      Throwable cause = e instanceof ExecutionException ? e.getCause() : e;
      if (done.number() >= retries || cause instanceof InvalidInputException) {
        Throwables.throwIfUnchecked(cause == null ? e : cause);
        throw new IllegalStateException(
            "The fitness of an individual could not be computed", cause);
      }
      LOGGER.debug("Evaluating an individual failed and is tried again: {}", String.valueOf(cause));
      submit(done.individual(), done.number() + 1, running);
    }
  }
}
