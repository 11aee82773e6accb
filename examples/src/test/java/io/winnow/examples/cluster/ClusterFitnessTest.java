package io.winnow.examples.cluster;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.hazelcast.core.HazelcastInstance;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.pruning.evolve.EvaluatedIndividual;
import io.winnow.pruning.evolve.EvolutionReport;
import io.winnow.pruning.evolve.EvolutionarySearch;
import io.winnow.pruning.evolve.Fitness;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.Phase;
import io.winnow.pruning.evolve.SearchLimit;
import io.winnow.pruning.evolve.SearchListener;
import io.winnow.pruning.evolve.SearchSpace;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A search over three worker processes on loopback, of which one is killed in the middle. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class ClusterFitnessTest {
  private static final String HOST = "127.0.0.1";
  private static final String DIGEST = "a task";
  private static final SearchSpace SPACE = new SearchSpace(List.of(0, 1), 2, 8, 4, 2);

  /** A worker process: prints a line when it has joined, and serves until it is killed. */
  static final class Worker {
    private Worker() {}

    public static void main(String[] args) throws InterruptedException {
      ClusterFitness.worker(
          HOST,
          Integer.parseInt(args[0]),
          List.of(args).subList(1, args.length),
          DIGEST,
          individual -> {
            sleep();
            return fitness(individual);
          });
      System.out.println("joined");
      Thread.sleep(TimeUnit.MINUTES.toMillis(2));
    }

    private static void sleep() {
      try {
        Thread.sleep(10);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private static double fitness(Individual individual) {
    double sum = 0;
    for (ExpertMerge merge : individual.groups()) {
      for (int row = 0; row < merge.retained(); row++) {
        for (int expert = 0; expert < merge.numExperts(); expert++) {
          double worth = Math.sin(3 * expert + 5 * sum);
          sum += worth * merge.expertMerging(row, expert) * (row + 1);
          sum -= 0.1 * merge.routerMapping(row, expert) * merge.routerMapping(row, expert);
        }
      }
    }
    return sum;
  }

  private static List<Integer> freePorts(int count) throws IOException {
    List<ServerSocket> sockets = new ArrayList<>();
    try {
      for (int i = 0; i < count; i++) {
        sockets.add(new ServerSocket(0, 1, InetAddress.getByName(HOST)));
      }
      return sockets.stream().map(ServerSocket::getLocalPort).toList();
    } finally {
      for (ServerSocket socket : sockets) {
        socket.close();
      }
    }
  }

  private static Process start(int port, List<String> members) throws IOException {
    List<String> command =
        new ArrayList<>(
            List.of(
                ProcessHandle.current().info().command().orElseThrow(),
                "-XX:TieredStopAtLevel=1",
                "-Xmx256m",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                "-cp",
                System.getProperty("java.class.path"),
                Worker.class.getName(),
                String.valueOf(port)));
    command.addAll(members);
    return new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
  }

  private static void waitUntilJoined(Process process) throws IOException {
    BufferedReader out = process.inputReader();
    String line = out.readLine();
    while (line != null && !line.equals("joined")) {
      line = out.readLine();
    }
    assertThat(line).isEqualTo("joined");
  }

  private static EvolutionarySearch.Builder search(Fitness fitness) {
    return EvolutionarySearch.builder(SPACE, fitness)
        .optPruning(SearchLimit.evaluations(40))
        .optMerging(SearchLimit.evaluations(40));
  }

  @Test
  void nothingIsLostWithAWorker() throws Exception {
    List<Integer> ports = freePorts(3);
    List<String> members = ports.stream().map(port -> HOST + ":" + port).toList();
    List<Process> workers = new ArrayList<>();
    HazelcastInstance client = null;
    try {
      for (int port : ports) {
        workers.add(start(port, members));
        if (workers.size() == 1) {
          waitUntilJoined(workers.get(0)); // So that the others find a cluster to join.
        }
      }
      waitUntilJoined(workers.get(1));
      waitUntilJoined(workers.get(2));
      client = ClusterFitness.client(members);
      assertThat(client.getCluster().getMembers()).hasSize(3);
      AtomicInteger evaluations = new AtomicInteger();
      EvolutionReport report =
          search(ClusterFitness.of(client, DIGEST, 6))
              .optListener(
                  new SearchListener() {
                    @Override
                    public void onEvaluation(Phase phase, EvaluatedIndividual evaluated) {
                      if (evaluations.incrementAndGet() == 25) {
                        workers.get(1).destroyForcibly();
                      }
                    }
                  })
              .build()
              .run();
      EvolutionReport alone = search(Fitness.of(DIGEST, ClusterFitnessTest::fitness)).build().run();
      assertThat(report.best()).isEqualTo(alone.best());
      assertThat(evaluations).hasValue(79); // The best pruned one is not evaluated again.
      assertThat(client.getCluster().getMembers()).hasSize(2);
      Fitness other = ClusterFitness.of(client, "another task", 1);
      assertThatThrownBy(() -> search(other).build().run())
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("The search evaluates another task, a worker a task");
    } finally {
      if (client != null) {
        client.shutdown();
      }
      workers.forEach(Process::destroyForcibly);
    }
  }
}
