package io.winnow.examples.cluster;

import com.hazelcast.client.HazelcastClient;
import com.hazelcast.client.config.ClientConfig;
import com.hazelcast.config.Config;
import com.hazelcast.config.JoinConfig;
import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.core.HazelcastInstanceAware;
import io.winnow.core.InvalidInputException;
import io.winnow.pruning.evolve.Fitness;
import io.winnow.pruning.evolve.Individual;
import java.io.Serializable;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/**
 * A search whose fitness is evaluated by several processes or machines, through Hazelcast.
 *
 * <p>Every worker loads the model and the task once, and joins; the process that searches sends it
 * individuals, which are matrices, and gets numbers back:
 *
 * <pre>{@code
 * // worker                                                     // the search
 * ClusterFitness.worker(                                        var cluster = ClusterFitness.client(addresses);
 *     "10.0.0.2", 5701, addresses, digest, individual -> {      EvolutionarySearch.builder(
 *       merged.apply(individual);                                   space, ClusterFitness.of(cluster, digest, 3))
 *       return -Perplexity.of(model, windows).nll();                .build().run();
 *     });
 * }</pre>
 *
 * <p>{@code winnow worker} and {@code winnow evolve --cluster} do it so. What a worker was
 * evaluating when it was lost is sent to another one. Members trust each other: do not open their
 * ports to strangers.
 */
public final class ClusterFitness {
  private static final String EXECUTOR = "winnow-fitness";
  private static final String DIGEST = "winnow-digest";
  private static final String FUNCTION = "winnow-function";

  /** An individual may be lost with its worker this often. */
  private static final int RETRIES = 5;

  private static final long CONNECT_MILLIS = 10_000;

  private ClusterFitness() {}

  /**
   * Joins as a worker, which evaluates one individual at a time.
   *
   * @param host the address of this machine that the others see
   * @param port a free one
   * @param members {@code host:port} of all workers
   * @param digest what identifies model and task; the search must have the same
   * @param function the fitness of an individual; called by one thread at a time
   * @return to be shut down by the caller
   */
  public static HazelcastInstance worker(
      String host,
      int port,
      List<String> members,
      String digest,
      ToDoubleFunction<Individual> function) {
    Config config = new Config();
    config.setClusterName("winnow");
    config.setProperty("hazelcast.phone.home.enabled", "false");
    config.setProperty("hazelcast.logging.type", "slf4j");
    config.getNetworkConfig().setPort(port).setPortAutoIncrement(false).setPublicAddress(host);
    config.getNetworkConfig().getInterfaces().setEnabled(true).addInterface(host);
    JoinConfig join = config.getNetworkConfig().getJoin();
    join.getAutoDetectionConfig().setEnabled(false);
    join.getMulticastConfig().setEnabled(false);
    join.getTcpIpConfig().setEnabled(true).setMembers(List.copyOf(members));
    config.getExecutorConfig(EXECUTOR).setPoolSize(1);
    // Before it joins: it may be sent an individual at once.
    config.getUserContext().put(DIGEST, digest);
    config.getUserContext().put(FUNCTION, function);
    return Hazelcast.newHazelcastInstance(config);
  }

  /**
   * Joins as the process that searches, which evaluates nothing.
   *
   * @param members {@code host:port} of workers
   * @return to be shut down by the caller
   * @throws InvalidInputException if no worker answers within 10 seconds
   */
  public static HazelcastInstance client(List<String> members) {
    ClientConfig config = new ClientConfig();
    config.setClusterName("winnow");
    config.setProperty("hazelcast.logging.type", "slf4j");
    config.getNetworkConfig().setAddresses(List.copyOf(members));
    config
        .getConnectionStrategyConfig()
        .getConnectionRetryConfig()
        .setClusterConnectTimeoutMillis(CONNECT_MILLIS);
    try {
      return HazelcastClient.newHazelcastClient(config);
    } catch (IllegalStateException e) {
      throw new InvalidInputException(
          "No worker answers at " + members + "; start 'winnow worker' there", e);
    }
  }

  /**
   * Returns the fitness that the workers compute.
   *
   * @param parallelism the individuals to have sent out at a time, a little more than workers
   */
  public static Fitness of(HazelcastInstance client, String digest, int parallelism) {
    return Fitness.onExecutor(
        digest,
        client.getExecutorService(EXECUTOR),
        parallelism,
        RETRIES,
        individual -> new Evaluation(digest, individual));
  }

  /** What travels. */
  private static final class Evaluation
      implements Callable<Double>, Serializable, HazelcastInstanceAware {
    private static final long serialVersionUID = 1L;

    private final String digest;
    private final Individual individual;
    private transient @Nullable HazelcastInstance worker;

    Evaluation(String digest, Individual individual) {
      this.digest = digest;
      this.individual = individual;
    }

    @Override
    public void setHazelcastInstance(HazelcastInstance instance) {
      worker = instance;
    }

    @Override
    @SuppressWarnings("unchecked")
    public Double call() {
      if (worker == null) {
        throw new IllegalStateException("An individual can be evaluated by a worker only");
      }
      Object own = worker.getUserContext().get(DIGEST);
      if (!digest.equals(own)) {
        throw new InvalidInputException(
            "The search evaluates "
                + digest
                + ", a worker "
                + own
                + "; start all with the same model and task");
      }
      var function =
          (ToDoubleFunction<Individual>)
              Objects.requireNonNull(worker.getUserContext().get(FUNCTION));
      return function.applyAsDouble(individual);
    }
  }
}
