package io.winnow.pruning;

import static java.util.Objects.requireNonNull;

import com.google.common.base.Throwables;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.function.Supplier;

/** Independent parts of one computation, on the caller's executor and thread. */
final class Tasks {
  private Tasks() {}

  /**
   * Runs tasks, and returns their results in order. The calling thread runs what the executor has
   * not begun, so that it may belong to the executor itself.
   *
   * @throws CancellationException if the calling thread is interrupted; the tasks are, too
   */
  static <T> List<T> run(Executor executor, List<Supplier<T>> tasks) {
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
      ExpertPruner.checkInterrupt();
      throw new AssertionError(e);
    } catch (ExecutionException e) {
      Throwables.throwIfUnchecked(requireNonNull(e.getCause()));
      throw new AssertionError(e);
    } finally {
      futures.forEach(future -> future.cancel(true));
    }
  }
}
