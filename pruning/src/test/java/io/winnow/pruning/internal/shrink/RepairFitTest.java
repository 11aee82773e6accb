package io.winnow.pruning.internal.shrink;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.kernel.fit.FitKernel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/** The fit of last matrices against small systems that are solved otherwise. */
class RepairFitTest {
  private static final int HIDDEN = 3;
  private static final long MEMORY = 1L << 30;

  private static float[] random(Random random, int size) {
    float[] values = new float[size];
    for (int i = 0; i < size; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  private static ExpertFeatures expert(NDManager manager, int number, long[] tokens, float[] h) {
    return new ExpertFeatures(
        number, tokens, manager.create(h, new Shape(tokens.length, h.length / tokens.length)));
  }

  private static RepairFit.Result fit(
      NDManager manager, List<ExpertFeatures> experts, NDArray error, int fitted, long memory) {
    RepairFit fit = new RepairFit(new FitKernel(manager), manager, experts, memory, () -> {});
    return fit.fit(manager, error, fitted, experts);
  }

  /** Solves (A + diag) x = b for each column by elimination, in float64. */
  private static double[][] solve(double[][] matrix, double[][] right) {
    int n = matrix.length;
    double[][] a = Arrays.stream(matrix).map(double[]::clone).toArray(double[][]::new);
    double[][] b = Arrays.stream(right).map(double[]::clone).toArray(double[][]::new);
    for (int i = 0; i < n; i++) {
      for (int j = i + 1; j < n; j++) {
        double factor = a[j][i] / a[i][i];
        for (int k = i; k < n; k++) {
          a[j][k] -= factor * a[i][k];
        }
        for (int k = 0; k < b[0].length; k++) {
          b[j][k] -= factor * b[i][k];
        }
      }
    }
    for (int i = n - 1; i >= 0; i--) {
      for (int k = 0; k < b[0].length; k++) {
        double sum = b[i][k];
        for (int j = i + 1; j < n; j++) {
          sum -= a[i][j] * b[j][k];
        }
        b[i][k] = sum / a[i][i];
      }
    }
    return b;
  }

  /** The solution of one expert's ridge regression with lambda = 1 by the normal equations. */
  private static double[][] direct(float[] h, float[] error, int tokens, int channels) {
    double[][] a = new double[channels][channels];
    double[][] b = new double[channels][HIDDEN];
    for (int t = 0; t < tokens; t++) {
      for (int i = 0; i < channels; i++) {
        for (int j = 0; j < channels; j++) {
          a[i][j] += (double) h[t * channels + i] * h[t * channels + j];
        }
        for (int k = 0; k < HIDDEN; k++) {
          b[i][k] += (double) h[t * channels + i] * error[t * HIDDEN + k];
        }
      }
    }
    double mean = IntStream.range(0, channels).mapToDouble(i -> a[i][i]).average().orElseThrow();
    double[] damping =
        IntStream.range(0, channels).mapToDouble(i -> a[i][i] + mean / 1000).toArray();
    for (int i = 0; i < channels; i++) {
      a[i][i] += damping[i];
    }
    return solve(a, b);
  }

  @Test
  void oneExpertIsSolvedAsTheNormalEquationsSayFromEitherSide() {
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      for (int[] size : new int[][] {{40, 6}, {6, 40}, {5, 5}}) {
        Random random = new Random(7);
        float[] h = random(random, size[0] * size[1]);
        float[] error = random(random, size[0] * HIDDEN);
        NDArray left = manager.create(error, new Shape(size[0], HIDDEN));
        ExpertFeatures expert = expert(manager, 0, LongStream.range(0, size[0]).toArray(), h);
        RepairFit.Result result = fit(manager, List.of(expert), left, size[0], MEMORY);
        assertThat(result.lambda()).isEqualTo(1);
        float[] found = result.changes().get(0).toFloatArray();
        double[][] expected = direct(h, error, size[0], size[1]);
        for (int i = 0; i < found.length; i++) {
          assertThat((double) found[i])
              .as("tokens %d, channels %d, element %d", size[0], size[1], i)
              .isCloseTo(expected[i / HIDDEN][i % HIDDEN], within(2e-5));
        }
        assertThat(result.after()).isLessThan(result.before());
        assertThat(left.toFloatArray()).isEqualTo(error);
      }
    }
  }

  /** Three experts of which every token takes two. */
  private static List<ExpertFeatures> three(
      NDManager manager, int tokens, int channels, int[] order) {
    List<ExpertFeatures> experts = new ArrayList<>();
    for (int place = 0; place < order.length; place++) {
      int expert = order[place];
      long[] taken = LongStream.range(0, tokens).filter(t -> t % 3 != expert).toArray();
      float[] h = random(new Random(100 + expert), taken.length * channels);
      for (int i = 0; i < h.length; i++) {
        h[i] *= expert + 1;
      }
      experts.add(expert(manager, place, taken, h));
    }
    return experts;
  }

  @Test
  void theOrderOfExpertsDoesNotMatter() {
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      NDArray error = manager.create(random(new Random(1), 60 * HIDDEN), new Shape(60, HIDDEN));
      RepairFit.Result one =
          fit(manager, three(manager, 60, 8, new int[] {0, 1, 2}), error, 48, MEMORY);
      RepairFit.Result other =
          fit(manager, three(manager, 60, 8, new int[] {2, 0, 1}), error, 48, MEMORY);
      assertThat(other.lambda()).isEqualTo(one.lambda());
      int[] places = {1, 2, 0};
      for (int expert = 0; expert < 3; expert++) {
        if (one.isNone()) {
          break;
        }
        assertThat(other.changes().get(places[expert]).toFloatArray())
            .isEqualTo(one.changes().get(expert).toFloatArray());
      }
    }
  }

  @Test
  void whatIsLearnedFromTheFittedTokensHoldsForTheLeftOutOnes() {
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      List<ExpertFeatures> experts = three(manager, 300, 6, new int[] {0, 1, 2});
      NDArray error = manager.zeros(new Shape(300, HIDDEN));
      FitKernel kernel = new FitKernel(manager);
      for (ExpertFeatures expert : experts) {
        NDArray lost =
            manager.create(random(new Random(expert.expert()), 6 * HIDDEN), new Shape(6, HIDDEN));
        kernel.addRows(
            error, expert.tokens(manager, expert.tokens().length), expert.features(), lost, 1);
      }
      RepairFit.Result result = fit(manager, experts, error, 250, MEMORY);
      assertThat(result.lambda()).isEqualTo(.01);
      assertThat(result.held()).isLessThan(.02);
      assertThat(result.after() / result.before()).isLessThan(.02);
    }
  }

  @Test
  void withLittleMemoryTheEquationsAreMadeAgainAndThenCutIntoGroups() {
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      NDArray error = manager.create(random(new Random(1), 90 * HIDDEN), new Shape(90, HIDDEN));
      List<ExpertFeatures> experts = three(manager, 90, 10, new int[] {0, 1, 2});
      RepairFit.Result whole = fit(manager, experts, error, 90, MEMORY);
      RepairFit.Result again = fit(manager, experts, error, 90, 24 * 100);
      RepairFit.Result groups = fit(manager, experts, error, 90, 24 * 16);
      for (int i = 0; i < 3; i++) {
        assertThat(again.changes().get(i).toFloatArray())
            .isEqualTo(whole.changes().get(i).toFloatArray());
        assertThat(groups.changes().get(i).getShape()).isEqualTo(new Shape(10, HIDDEN));
      }
      assertThat(groups.after()).isBetween(whole.after() * .95, whole.before());
    }
  }

  @Test
  void whereNothingIsLostNothingChanges() {
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      List<ExpertFeatures> experts = three(manager, 30, 4, new int[] {0, 1, 2});
      RepairFit.Result result =
          fit(manager, experts, manager.zeros(new Shape(30, HIDDEN)), 24, MEMORY);
      assertThat(result.isNone()).isTrue();
      assertThat(result.changes()).isEmpty();
    }
  }

  @Test
  void noiseIsNotLearned() {
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      List<ExpertFeatures> experts = three(manager, 60, 30, new int[] {0, 1, 2});
      NDArray error = manager.create(random(new Random(5), 60 * HIDDEN), new Shape(60, HIDDEN));
      RepairFit.Result result = fit(manager, experts, error, 40, MEMORY);
      assertThat(result.after()).isLessThanOrEqualTo(result.before());
      if (!result.isNone()) {
        assertThat(result.lambda()).isGreaterThanOrEqualTo(3);
      }
    }
  }

  @Test
  void anExpertThatNoTokenTakesStaysAsItIs() {
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      List<ExpertFeatures> experts = new ArrayList<>(three(manager, 30, 4, new int[] {0, 1, 2}));
      experts.add(new ExpertFeatures(3, new long[0], manager.zeros(new Shape(0, 4))));
      NDArray error = manager.create(random(new Random(2), 30 * HIDDEN), new Shape(30, HIDDEN));
      RepairFit.Result result = fit(manager, experts, error, 30, MEMORY);
      assertThat(result.changes()).hasSize(4);
      assertThat(result.changes().get(3).toFloatArray()).containsOnly(0f);
    }
  }
}
