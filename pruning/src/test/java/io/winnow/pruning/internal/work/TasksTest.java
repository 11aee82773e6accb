package io.winnow.pruning.internal.work;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;

/** Parts of one computation on the caller's executor and thread. */
class TasksTest {
  @Test
  void anInterruptEndsTasksOnOtherThreads() throws Exception {
    ExecutorService executor = Executors.newFixedThreadPool(2);
    try {
      Thread caller = Thread.currentThread();
      List<Supplier<Integer>> tasks =
          List.of(
              () -> 1,
              () -> {
                caller.interrupt();
                while (true) {
                  Interrupts.check();
                  Thread.onSpinWait();
                }
              },
              () -> 2);
      assertThatThrownBy(() -> Tasks.run(executor, tasks))
          .isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
      assertThat(executor.submit(() -> 3).get()).isEqualTo(3);
    } finally {
      executor.shutdown();
    }
  }

  @Test
  void aFailureOfATaskIsTheCallers() {
    List<Supplier<Integer>> tasks =
        List.of(
            () -> {
              throw new InvalidInputException("bad");
            });
    assertThatThrownBy(() -> Tasks.run(Runnable::run, tasks))
        .isInstanceOf(InvalidInputException.class)
        .hasMessage("bad");
  }
}
