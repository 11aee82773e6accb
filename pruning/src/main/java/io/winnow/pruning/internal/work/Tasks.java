package io.winnow.pruning.internal.work;

import static java.util.Objects.requireNonNull;

import com.google.common.base.Throwables;
import com.google.common.util.concurrent.Uninterruptibles;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.function.Supplier;

/** Independent parts of one computation, on the caller's executor and thread. */
public final class Tasks {
  private Tasks() {}

  /**
   * Runs tasks, and returns their results in order. The calling thread runs what the executor has
   * not begun, so that it may belong to the executor itself.
   *
   * @throws CancellationException if the calling thread is interrupted; the tasks are, too
   */
  public static <T> List<T> run(Executor executor, List<Supplier<T>> tasks) {
    List<FutureTask<T>> futures = new ArrayList<>();
    tasks.forEach(task -> futures.add(new FutureTask<>(task::get)));
    try {
      futures.forEach(executor::execute);
      List<T> results = new ArrayList<>();
      for (FutureTask<T> future : futures) {
        future.run();
        results.add(future.get());
      }
      return results;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      Interrupts.check();
      throw new AssertionError(e);
    } catch (ExecutionException e) {
      Throwables.throwIfUnchecked(requireNonNull(e.getCause()));
      throw new AssertionError(e);
    } finally {
      futures.forEach(future -> future.cancel(true));
    }
  }

  /**
   * Runs all tasks on an executor at the same time, and waits for all of them in any case: what
   * they use is freed afterwards.
   *
   * @throws RuntimeException what the first one that failed threw
   */
  public static void runAll(ExecutorService executor, List<? extends Runnable> tasks) {
    List<Future<?>> futures = new ArrayList<>();
    RuntimeException failure = null;
    try {
      tasks.forEach(task -> futures.add(executor.submit(task)));
    } finally {
      for (Future<?> future : futures) {
        try {
          Uninterruptibles.getUninterruptibly(future);
        } catch (ExecutionException e) {
          if (failure == null) {
            failure = e.getCause() instanceof RuntimeException cause ? cause : unexpected(e);
          }
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
  }

  private static IllegalStateException unexpected(ExecutionException e) {
    return new IllegalStateException("A batch failed", e.getCause());
  }
}
