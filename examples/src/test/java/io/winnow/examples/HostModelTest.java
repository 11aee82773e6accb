package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.SubsetLoss;
import io.winnow.skipping.BetaSkipPolicy;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A host application's own model is pruned: the choice against plain loops over its weights. */
class HostModelTest {
  private static final int VOCABULARY = 40;
  private static final int HIDDEN = 6;
  private static final int INNER = 10;
  private static final int EXPERTS = 6;
  private static final int TOP_K = 2;
  private static final int RETAINED = 3;

  private NDManager manager;
  private HostModel model;
  private List<NDList> experts;
  private double[][] embedding;
  private double[][] router;
  private List<double[][][]> weights;
  private Calibration calibration;

  @BeforeEach
  void create() {
    manager = NDManager.newBaseManager(Device.cpu(), "PyTorch");
    manager.getEngine().setRandomSeed(11);
    NDArray embeddings = random(VOCABULARY, HIDDEN);
    NDArray gate = random(EXPERTS, HIDDEN);
    experts = new ArrayList<>();
    for (int i = 0; i < EXPERTS; i++) {
      experts.add(new NDList(random(INNER, HIDDEN), random(INNER, HIDDEN), random(HIDDEN, INNER)));
    }
    embedding = matrix(embeddings);
    router = matrix(gate);
    weights =
        experts.stream()
            .map(expert -> expert.stream().map(HostModelTest::matrix).toArray(double[][][]::new))
            .toList();
    model = new HostModel(embeddings, gate, SoftmaxRouting.of(TOP_K, true), List.copyOf(experts));
    calibration =
        Calibration.ofTokens(
            new long[][] {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {39, 30, 5, 17, 20, 21, 22, 23, 24, 1}});
  }

  @AfterEach
  void close() {
    manager.close();
  }

  private NDArray random(int rows, int columns) {
    return manager.randomNormal(new Shape(rows, columns));
  }

  private static double[][] matrix(NDArray array) {
    int columns = (int) array.getShape().get(1);
    float[] values = array.toFloatArray();
    double[][] matrix = new double[values.length / columns][columns];
    for (int i = 0; i < values.length; i++) {
      matrix[i / columns][i % columns] = values[i];
    }
    return matrix;
  }

  private static double[] times(double[][] matrix, double[] vector) {
    double[] product = new double[matrix.length];
    for (int i = 0; i < product.length; i++) {
      for (int j = 0; j < vector.length; j++) {
        product[i] += matrix[i][j] * vector[j];
      }
    }
    return product;
  }

  private double[] expert(int expert, double[] input) {
    double[] gated = times(weights.get(expert)[0], input);
    double[] up = times(weights.get(expert)[1], input);
    double[] product = new double[INNER];
    for (int i = 0; i < INNER; i++) {
      product[i] = gated[i] / (1 + Math.exp(-gated[i])) * up[i];
    }
    return times(weights.get(expert)[2], product);
  }

  /** Runs the layer with these experts only. */
  private double[] layer(List<Integer> kept, double[] input) {
    return layer(kept, TOP_K, input);
  }

  private double[] layer(List<Integer> kept, int topK, double[] input) {
    double[] logits = times(router, input);
    List<Integer> selected =
        kept.stream().sorted(Comparator.comparingDouble(e -> -logits[e])).limit(topK).toList();
    double sum = selected.stream().mapToDouble(e -> Math.exp(logits[e])).sum();
    double[] output = new double[HIDDEN];
    for (int expert : selected) {
      double[] part = expert(expert, input);
      for (int i = 0; i < HIDDEN; i++) {
        output[i] += Math.exp(logits[expert]) / sum * part[i];
      }
    }
    return output;
  }

  private double loss(List<Integer> kept) {
    List<Integer> all = IntStream.range(0, EXPERTS).boxed().toList();
    double squares = 0;
    for (int i = 0; i < calibration.sequences().count(); i++) {
      for (long id : calibration.sequences().sequence(i)) {
        double[] original = layer(all, embedding[(int) id]);
        double[] pruned = layer(kept, embedding[(int) id]);
        for (int j = 0; j < HIDDEN; j++) {
          squares += Math.pow(original[j] - pruned[j], 2);
        }
      }
    }
    return Math.sqrt(squares);
  }

  private static List<Integer> others(List<Integer> dropped) {
    return IntStream.range(0, EXPERTS).boxed().filter(e -> !dropped.contains(e)).toList();
  }

  @Test
  void theExpertsThatStayAreThoseOfRunningTheLayerForEverySubset() {
    PruningReport report = ExpertPruner.prune(model, calibration, RETAINED);
    PruningReport.Layer layer = report.layers().get(0);
    assertThat(layer.losses()).hasSize(20);
    for (SubsetLoss subset : layer.losses()) {
      double expected = loss(others(subset.dropped()));
      assertThat(subset.loss())
          .as("loss of dropping %s", subset.dropped())
          .isCloseTo(expected, within(1e-4 * expected));
    }
    List<Integer> best =
        layer.losses().stream()
            .map(subset -> others(subset.dropped()))
            .min(Comparator.comparingDouble(this::loss))
            .orElseThrow();
    assertThat(layer.retained()).isEqualTo(best);
    assertThat(layer.dropped()).isEqualTo(others(best));
    assertThat(layer.exact()).isTrue();
    assertThat(layer.loss().getAsDouble()).isCloseTo(loss(best), within(1e-3));
    assertThat(report.calibrationTokens()).isEqualTo(20);
  }

  @Test
  void thePrunedModelComputesWhatTheLayerComputesWithTheseExpertsOnly() {
    List<Integer> kept =
        ExpertPruner.prune(model, calibration, RETAINED).layers().get(0).retained();
    assertThat(model.numExperts()).isEqualTo(RETAINED);
    try (NDArray input = manager.create(new float[] {1, -1, 0.5f, 2, 0, 1}).reshape(1, HIDDEN);
        NDArray logits = model.routerLogits(input)) {
      double[] vector = matrix(input)[0];
      double[] whole = times(router, vector);
      for (int i = 0; i < RETAINED; i++) {
        assertThat((double) logits.toFloatArray()[i]).isCloseTo(whole[kept.get(i)], within(1e-4));
        try (NDArray output = model.expertOutput(i, input)) {
          double[] expected = expert(kept.get(i), vector);
          for (int j = 0; j < HIDDEN; j++) {
            assertThat((double) output.toFloatArray()[j]).isCloseTo(expected[j], within(1e-3));
          }
        }
      }
    }
  }

  @Test
  void theWeightsOfRemovedExpertsAreFreed() {
    List<Integer> kept =
        ExpertPruner.prune(model, calibration, RETAINED).layers().get(0).retained();
    for (int expert = 0; expert < EXPERTS; expert++) {
      boolean stays = kept.contains(expert);
      for (NDArray array : experts.get(expert)) {
        if (stays) {
          assertThat(array.toFloatArray()).isNotEmpty();
        } else {
          assertThatThrownBy(array::toFloatArray).isInstanceOf(IllegalStateException.class);
        }
      }
    }
  }

  @Test
  void whatDoesNotFitIsRefusedAndChangesNothing() {
    assertThatThrownBy(() -> ExpertPruner.prune(model, calibration, 1))
        .isInstanceOf(InvalidInputException.class);
    Calibration unknown = Calibration.ofTokens(new long[][] {{VOCABULARY}});
    assertThatThrownBy(() -> ExpertPruner.prune(model, unknown, RETAINED))
        .isInstanceOf(InvalidInputException.class);
    assertThat(model.numExperts()).isEqualTo(EXPERTS);
  }

  private double[] logits(SkipPolicy policy, long id) {
    model.routerHooks().set(policy.asHook());
    try (NDArray logits = model.logits(TokenSequences.of(new long[][] {{id}}))) {
      return matrix(logits)[0];
    } finally {
      model.routerHooks().set(null);
    }
  }

  /** The embedding and the first experts' weighted outputs, times the embedding. */
  private double[] expectedLogits(int active, long id) {
    double[] output =
        layer(IntStream.range(0, EXPERTS).boxed().toList(), active, embedding[(int) id]);
    for (int i = 0; i < HIDDEN; i++) {
      output[i] += embedding[(int) id][i];
    }
    return times(embedding, output);
  }

  @Test
  void theOutputFollowsTheInstalledPolicy() {
    for (long id : new long[] {0, 7, 39}) {
      assertThat(logits(SkipPolicy.none(), id))
          .containsExactly(expectedLogits(TOP_K, id), within(1e-3));
      assertThat(logits(SkipPolicy.topK(1), id))
          .containsExactly(expectedLogits(1, id), within(1e-3));
    }
  }

  @Test
  void aPolicyIsCalibratedOnItAndSkipsAboutTheShareThatIsWanted() {
    BetaSkipPolicy policy = SkipPolicy.calibrate(model, calibration, 0.5);
    assertThat(policy.betas()).hasSize(1).allSatisfy(beta -> assertThat(beta).isBetween(0.0, 1.0));
    SkipCounter counter = new SkipCounter();
    model.routerHooks().set(policy.asHook(counter));
    model.forward(calibration.sequences(), new ForwardObserver() {});
    assertThat(counter.snapshot().rate()).isBetween(0.4, 0.6);
  }

  @Test
  void aHostNeedsFewerThan120LinesOfCode() throws Exception {
    Path source = Path.of("src/main/java/io/winnow/examples/HostModel.java");
    assertThat(
            Files.readAllLines(source).stream()
                .map(String::strip)
                .filter(line -> !line.isEmpty() && !line.matches("(import |/?\\*).*")))
        .hasSizeLessThan(120);
  }
}
