package io.winnow.examples.bench.speed;

import static java.util.Objects.requireNonNull;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.MoeModel;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.model.MoeModels;
import io.winnow.core.generate.Generation;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.LayerCalibration;
import io.winnow.pruning.PruningMethod;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * The small operations that are called often, by JMH: routing, the loss of a subset of experts, and
 * a decode step with and without drawing its token. Public for JMH only.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
public class OperationsBenchmark {
  private static final int ROUTED_TOKENS = 2048;
  private static final int NEW_TOKENS = 64;
  private static final int CALIBRATION_TOKENS = 2048;

  /** The model's folder; JMH sets it. */
  @Param("")
  public String folder = "";

  private @Nullable Model model;
  private @Nullable Generator generator;
  private @Nullable LayerCalibration calibration;
  private Routing routing = SoftmaxRouting.of(2, true);
  private float[] logits = {};
  private int experts;
  private List<Integer> subset = List.of();
  private long[] prompt = {};

  /** Loads the model, and calibrates its first layer. */
  @Setup
  public void load() {
    Telemetry.off();
    Model loaded =
        MoeModels.loader(Path.of(folder))
            .optDevice(Device.cpu())
            .optDataType(DataType.FLOAT32)
            .load();
    model = loaded;
    MoeModel moe = MoeModel.of(loaded);
    generator = Generator.of(loaded).withEndTokens(Set.of());
    experts = moe.moeLayers().get(0).numExperts();
    routing = moe.moeLayers().get(0).routing();
    Random random = new Random(5);
    logits = new float[ROUTED_TOKENS * experts];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) random.nextGaussian();
    }
    prompt = random.longs(32, 0, moe.vocabularySize()).toArray();
    int length = Math.min(256, moe.maxPositions());
    long[][] ids = new long[Math.max(1, CALIBRATION_TOKENS / length)][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = random.longs(length, 0, moe.vocabularySize()).toArray();
    }
    int retained = Math.max(routing.topK(), experts / 2);
    subset = IntStream.range(0, retained).boxed().toList();
    FirstLayer first = new FirstLayer();
    ExpertPruner.builder()
        .optMethod(first)
        .build()
        .search(loaded, Calibration.ofTokens(ids), retained);
    calibration = requireNonNull(first.seen);
  }

  /** Closes the model. */
  @TearDown
  public void close() {
    requireNonNull(model).close();
  }

  /** Routes a batch of 2048 tokens. */
  @Benchmark
  public RoutingDecision route2048Tokens() {
    return routing.route(logits, experts);
  }

  /** Computes the loss of half of the experts on 2048 tokens. */
  @Benchmark
  public double lossOfASubset() {
    return requireNonNull(calibration).loss(subset);
  }

  /** Generates greedily, per token. */
  @Benchmark
  @OperationsPerInvocation(NEW_TOKENS)
  public Generation greedyToken() {
    return generate(GenerationConfig.greedy(NEW_TOKENS));
  }

  /** Generates by drawing from the 50 likeliest tokens, per token. */
  @Benchmark
  @OperationsPerInvocation(NEW_TOKENS)
  public Generation drawnToken() {
    return generate(
        GenerationConfig.builder(NEW_TOKENS).optTemperature(0.9).optTopK(50).optTopP(0.95).build());
  }

  private Generation generate(GenerationConfig config) {
    return requireNonNull(generator).generate(prompt, config);
  }

  /** Keeps what the search has measured of the first layer. */
  private static final class FirstLayer implements PruningMethod {
    private @Nullable LayerCalibration seen;

    @Override
    public String name() {
      return "first layer";
    }

    @Override
    public boolean needsExpertOutputs() {
      return true;
    }

    @Override
    public Choice choose(LayerCalibration layer, int retained, long seed) {
      seen = seen == null ? layer : seen;
      return new Choice(IntStream.range(0, retained).boxed().toList(), false, List.of());
    }
  }
}
