package io.winnow.examples.cli.train;

import ai.djl.Model;
import com.google.common.net.HostAndPort;
import com.hazelcast.core.HazelcastInstance;
import io.winnow.core.MoeModel;
import io.winnow.examples.cluster.ClusterFitness;
import io.winnow.examples.cluster.MemberAddress;
import io.winnow.examples.cluster.ModelFitness;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.task.EvolutionTask;
import io.winnow.examples.task.TaskFileOptions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow worker}. */
@Command(
    name = "worker",
    mixinStandardHelpOptions = true,
    description =
        "Tries models for 'winnow evolve --cluster' on this machine, until it is stopped."
            + " Workers trust each other and the search: keep their ports from strangers.",
    footer = {
      "",
      "Example: two machines, and the search on one of them:",
      "  winnow worker --model Mixtral-8x7B --task code.txt \\",
      "      --listen 10.0.0.1:5701 --members 10.0.0.1:5701,10.0.0.2:5701",
      "  winnow worker --model Mixtral-8x7B --task code.txt \\",
      "      --listen 10.0.0.2:5701 --members 10.0.0.1:5701,10.0.0.2:5701",
      "  winnow evolve --model Mixtral-8x7B --task code.txt --retain 4 \\",
      "      --cluster 10.0.0.1:5701,10.0.0.2:5701 --out Mixtral-8x7B-code"
    })
final class WorkerCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private TaskFileOptions task;

  @Option(
      names = "--listen",
      required = true,
      paramLabel = "HOST:PORT",
      description = "this machine's address that the others see, and a free port")
  private String listen;

  @Option(
      names = "--members",
      split = ",",
      paramLabel = "HOST:PORT",
      description = "all workers, separated by commas (default: this one alone)")
  private List<String> members = new ArrayList<>();

  @Override
  public Integer call() throws InterruptedException {
    HostAndPort address = MemberAddress.parse("--listen", listen);
    members.forEach(member -> MemberAddress.parse("--members", member));
    task.check();
    ModelLimits limits = model.check();
    try (EvolutionTask measured = task.read(model.folder(), limits, false);
        Model loaded = model.load()) {
      MoeModel block = MoeModel.of(loaded);
      HazelcastInstance worker =
          ClusterFitness.worker(
              address.getHost(),
              address.getPort(),
              members.isEmpty() ? List.of(listen) : members,
              EvolutionTask.digest(block, measured),
              new ModelFitness(block, measured.measure(List.of(loaded))));
      System.out.println("Waiting for searches at " + listen);
      try {
        new CountDownLatch(1).await(); // Until the process is stopped, or the thread interrupted.
        return 0;
      } catch (InterruptedException e) {
        worker.shutdown();
        Thread.currentThread().interrupt(); // Not before: shutting down would end half-way.
        throw e;
      }
    }
  }
}
