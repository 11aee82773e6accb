package io.winnow.examples;

import ai.djl.Model;
import com.google.common.base.Preconditions;
import com.google.common.net.HostAndPort;
import com.hazelcast.core.HazelcastInstance;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.MergedModel;
import io.winnow.pruning.evolve.SearchSpace;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;
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
    HostAndPort address = address("--listen", listen);
    members.forEach(member -> address("--members", member));
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
              new Evaluation(block, measured.measure(List.of(loaded))));
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

  /** Reads an address with a port. */
  static HostAndPort address(String option, String text) {
    try {
      HostAndPort address = HostAndPort.fromString(text);
      Preconditions.checkArgument(address.hasPort() && !address.getHost().isEmpty());
      return address;
    } catch (IllegalArgumentException e) {
      throw new InvalidInputException(
          option + ": '" + text + "' is no address; write HOST:PORT, such as 10.0.0.1:5701", e);
    }
  }

  /** Applies individuals of any space to the model, one at a time. */
  private static final class Evaluation implements ToDoubleFunction<Individual> {
    private final MoeModel block;
    private final ToDoubleFunction<MoeModel> measure;
    private @Nullable MergedModel merged;
    private @Nullable SearchSpace space;

    Evaluation(MoeModel block, ToDoubleFunction<MoeModel> measure) {
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
}
