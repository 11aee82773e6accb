package io.winnow.core.internal.kernel.fused;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the experts of a layer add to many tokens, against the definition in plain Java. */
class ExpertSumTest {
  private static final int TOKENS = 23;
  private static final int EXPERTS = 4;
  private static final int TOP_K = 2;
  private static final int HIDDEN = 8;
  private static final int INTERMEDIATE = 6;
  private static final KernelConfig CONFIG = new KernelConfig(HIDDEN, 1e-6, 1, 1, 1, false);
  private static final Offset<Float> ROUNDING = within(1e-5f);

  private NDManager manager;
  private final Random random = new Random(3);

  /** Of each expert, the shared one last: gate, up, down. */
  private final List<float[][][]> experts = new ArrayList<>();

  private float[][] hidden;

  @BeforeEach
  void makeLayer() {
    Telemetry.off();
    manager = NDManager.newBaseManager(Device.cpu(), "PyTorch");
    hidden = random(TOKENS, HIDDEN);
    for (int expert = 0; expert <= EXPERTS; expert++) {
      experts.add(
          new float[][][] {
            random(INTERMEDIATE, HIDDEN), random(INTERMEDIATE, HIDDEN), random(HIDDEN, INTERMEDIATE)
          });
    }
  }

  @AfterEach
  void close() {
    manager.close();
  }

  private float[][] random(int rows, int columns) {
    float[][] values = new float[rows][columns];
    for (float[] row : values) {
      for (int i = 0; i < columns; i++) {
        row[i] = (float) random.nextGaussian() / 2;
      }
    }
    return values;
  }

  /** Two different experts for each token, of which some are skipped: all of the sixth one's. */
  private RoutingDecision decision() {
    int[] chosen = new int[TOKENS * TOP_K];
    float[] weights = new float[TOKENS * TOP_K];
    for (int token = 0; token < TOKENS; token++) {
      int first = random.nextInt(EXPERTS);
      chosen[token * TOP_K] = token == 5 ? RoutingDecision.NONE : first;
      chosen[token * TOP_K + 1] =
          token % 5 == 0
              ? RoutingDecision.NONE
              : (first + 1 + random.nextInt(EXPERTS - 1)) % EXPERTS;
      weights[token * TOP_K] = random.nextFloat();
      weights[token * TOP_K + 1] = random.nextFloat();
    }
    return RoutingDecision.of(TOP_K, chosen, weights);
  }

  private TensorList matrices(int which, int count) {
    List<DeviceTensor> tensors = new ArrayList<>();
    for (float[][][] expert : experts.subList(0, count)) {
      tensors.add(DeviceTensor.owning(manager.create(expert[which])));
    }
    return new TensorList(tensors);
  }

  private float[] mixed(ExpertMix mix, long outputElements) {
    FusedKernel kernel = new FusedKernel(manager, DataType.FLOAT32, CONFIG, outputElements);
    NDArray ones = manager.ones(new Shape(HIDDEN));
    NDArray gate = manager.ones(new Shape(EXPERTS, HIDDEN));
    try (RoutedResidual routed =
            kernel.route(
                manager,
                DeviceTensor.owning(manager.create(hidden)),
                Junction.ofHead(DeviceTensor.owning(ones)),
                DeviceTensor.owning(gate));
        DeviceTensor sums = kernel.mix(manager, routed, mix, null)) {
      return sums.array().toFloatArray();
    }
  }

  private ExpertMix mix(RoutingDecision decision, float[] shared) {
    int count = EXPERTS + (shared == null ? 0 : 1);
    return new ExpertMix(
        decision,
        new ExpertWeights(matrices(0, count), matrices(1, count), matrices(2, count)),
        shared,
        null);
  }

  /** The residual of a token, and what an expert with a weight adds to it. */
  private float[] expected(RoutingDecision decision, float[] shared) {
    float[] sums = new float[TOKENS * HIDDEN];
    for (int token = 0; token < TOKENS; token++) {
      double squares = 0;
      for (float element : hidden[token]) {
        squares += element * element;
      }
      double length = Math.sqrt(squares / HIDDEN + 1e-6);
      double[] total = new double[HIDDEN];
      for (int rank = 0; rank < TOP_K; rank++) {
        int expert = decision.expert(token, rank);
        if (expert != RoutingDecision.NONE) {
          add(total, token, length, expert, decision.weight(token, rank));
        }
      }
      if (shared != null) {
        add(total, token, length, EXPERTS, shared[token]);
      }
      for (int i = 0; i < HIDDEN; i++) {
        sums[token * HIDDEN + i] = (float) (hidden[token][i] + total[i]);
      }
    }
    return sums;
  }

  private void add(double[] total, int token, double length, int expert, double weight) {
    float[][][] matrices = experts.get(expert);
    for (int j = 0; j < INTERMEDIATE; j++) {
      double gate = 0;
      double up = 0;
      for (int i = 0; i < HIDDEN; i++) {
        gate += matrices[0][j][i] * hidden[token][i] / length;
        up += matrices[1][j][i] * hidden[token][i] / length;
      }
      double activated = gate / (1 + Math.exp(-gate)) * up;
      for (int i = 0; i < HIDDEN; i++) {
        total[i] += weight * activated * matrices[2][i][j];
      }
    }
  }

  private static void assertClose(float[] actual, float[] expected) {
    assertThat(actual).hasSameSizeAs(expected).containsExactly(expected, ROUNDING);
  }

  @ParameterizedTest(name = "{0} elements of outputs at a time")
  @ValueSource(longs = {1, 5 * TOP_K * HIDDEN, 1 << 20})
  void eachTokenGetsItsExpertsHoweverManyTokensAreSummedAtATime(long outputElements) {
    RoutingDecision decision = decision();
    assertClose(mixed(mix(decision, null), outputElements), expected(decision, null));
  }

  @ParameterizedTest(name = "{0} elements of outputs at a time")
  @ValueSource(longs = {1, 5 * (TOP_K + 1) * HIDDEN, 1 << 20})
  void theSharedExpertTakesEveryToken(long outputElements) {
    RoutingDecision decision = decision();
    float[] shared = random(1, TOKENS)[0];
    assertClose(mixed(mix(decision, shared), outputElements), expected(decision, shared));
  }

  @Test
  void withoutAnyExpertTheResidualStays() {
    int[] none = new int[TOKENS * TOP_K];
    Arrays.fill(none, RoutingDecision.NONE);
    RoutingDecision decision = RoutingDecision.of(TOP_K, none, new float[TOKENS * TOP_K]);
    assertThat(mixed(mix(decision, null), 1 << 20)).containsExactly(expected(decision, null));
  }
}
