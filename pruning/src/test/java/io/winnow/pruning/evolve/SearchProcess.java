package io.winnow.pruning.evolve;

import io.winnow.pruning.JavaProcess;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** A search in a process of its own, for tests that kill it. */
final class SearchProcess {
  static final int WORKERS = 2;

  private SearchProcess() {}

  /** Starts a process on a journal. It notes in the log what it evaluates, before it does. */
  static Process start(Path journal, Path log) throws IOException {
    return JavaProcess.start(SearchProcess.class, true, journal, log);
  }

  public static void main(String[] args) {
    Path log = Path.of(args[1]);
    ExecutorService executor = Executors.newFixedThreadPool(WORKERS);
    Fitness fitness =
        Fitness.onExecutor(
            "fake",
            executor,
            WORKERS,
            0,
            individual ->
                () -> {
                  note(log, individual);
                  Thread.sleep(4);
                  return FakeTask.fitness(individual);
                });
    EvolutionReport report =
        FakeTask.search(fitness, 11).optJournal(Path.of(args[0])).build().run();
    System.out.println(report.best().individual().digest());
    executor.shutdownNow();
  }

  private static synchronized void note(Path log, Individual individual) {
    try {
      Files.writeString(
          log, individual.digest() + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
