package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Reconstruction pruning of every family, on random weights. */
class FamilyPruningTest {
  private static final int VOCABULARY = 128;

  @TempDir private Path folder;

  static List<String> families() {
    return FamilyFixtures.FAMILIES;
  }

  private static MoeModels.Loader loader(Path checkpoint) {
    return MoeModels.loader(checkpoint).optDevice(Device.cpu()).optDataType(DataType.FLOAT32);
  }

  private static Calibration calibration() {
    Random random = new Random(5);
    long[][] ids = new long[4][24];
    for (long[] row : ids) {
      for (int i = 0; i < row.length; i++) {
        row[i] = random.nextInt(VOCABULARY);
      }
    }
    return Calibration.ofTokens(ids);
  }

  /** Returns r for a layer: two thirds of it, which is a multiple of every family's groups. */
  private static int retained(MoeModel model) {
    return model.moeLayers().get(0).numExperts() * 2 / 3;
  }

  private static float[] logits(Model model) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(calibration().sequences().flatten(0, 2), new Shape(2, 24));
      return model
          .getBlock()
          .forward(new ParameterStore(manager, false), new NDList(ids), false)
          .singletonOrThrow()
          .toFloatArray();
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void theLossIsThatOfTheLayersOfTheWrittenModelAndNothingForAllExperts(String family) {
    Path target = folder.resolve("pruned");
    Map<Integer, float[]> inputs = new HashMap<>();
    Map<Integer, double[]> outputs = new HashMap<>();
    PruningReport report;
    float[] expected;
    try (Model model = loader(Fixtures.golden(family)).load()) {
      MoeModel moe = MoeModel.of(model);
      moe.forward(
          calibration().sequences(),
          new ForwardObserver() {
            @Override
            public boolean onInput(MoeLayerView layer, NDArray hidden) {
              inputs.put(layer.layerIndex(), hidden.toFloatArray());
              return true;
            }
          });
      moe.moeLayers()
          .forEach(
              layer ->
                  outputs.put(
                      layer.layerIndex(), output(model, layer, inputs.get(layer.layerIndex()))));
      int experts = moe.moeLayers().get(0).numExperts();
      PruningReport whole = ExpertPruner.builder().build().search(model, calibration(), experts);
      assertThat(whole.layers()).hasSize(moe.moeLayers().size());
      whole.layers().forEach(layer -> assertThat(layer.loss()).hasValue(0));
      report = ExpertPruner.prune(model, calibration(), retained(moe));
      expected = logits(model);
      MoeModels.save(model, target);
    }
    try (Model model = loader(target).load()) {
      assertThat(logits(model)).isEqualTo(expected);
      List<? extends MoeLayerView> layers = MoeModel.of(model).moeLayers();
      for (int i = 0; i < layers.size(); i++) {
        MoeLayerView layer = layers.get(i);
        PruningReport.Layer chosen = report.layers().get(i);
        assertThat(layer.numExperts()).isEqualTo(chosen.retained().size());
        double[] before = outputs.get(layer.layerIndex());
        double[] after = output(model, layer, inputs.get(layer.layerIndex()));
        double squares = 0;
        for (int j = 0; j < before.length; j++) {
          squares += Math.pow(after[j] - before[j], 2);
        }
        double loss = Math.sqrt(squares);
        assertThat(chosen.loss().orElseThrow()).isCloseTo(loss, within(1e-4 * loss));
        assertThat(chosen.exact()).isTrue();
      }
    }
  }

  /** The routed experts' output on an input of the layer, added up in float64. */
  private static double[] output(Model model, MoeLayerView layer, float[] input) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      int tokens = calibration().sequences().count() * 24;
      int width = input.length / tokens;
      NDArray hidden = manager.create(input, new Shape(tokens, width));
      RoutingDecision decision =
          layer.routing().route(layer.routerLogits(hidden).toFloatArray(), layer.numExperts());
      double[] sum = new double[input.length];
      for (int expert = 0; expert < layer.numExperts(); expert++) {
        float[] output = layer.expertOutput(expert, hidden).toFloatArray();
        for (int token = 0; token < tokens; token++) {
          for (int rank = 0; rank < decision.topK(); rank++) {
            if (decision.expert(token, rank) == expert) {
              for (int i = token * width; i < (token + 1) * width; i++) {
                sum[i] += (double) decision.weight(token, rank) * output[i];
              }
            }
          }
        }
      }
      return sum;
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void anotherOrderOfTheExpertsPermutesTheChoice(String family) throws Exception {
    PruningReport report;
    int[] order;
    try (Model model = loader(Fixtures.golden(family)).load()) {
      MoeModel moe = MoeModel.of(model);
      MoeLayerView first = moe.moeLayers().get(0);
      int size = first.numExperts() / first.routing().groups();
      // Backwards, within each group.
      order =
          IntStream.range(0, first.numExperts())
              .map(expert -> expert / size * size + size - 1 - expert % size)
              .toArray();
      report = ExpertPruner.builder().build().search(model, calibration(), retained(moe));
    }
    Path other = FamilyFixtures.reordered(family, folder.resolve("other"), order);
    try (Model model = loader(other).load()) {
      PruningReport ofOther =
          ExpertPruner.builder().build().search(model, calibration(), retained(MoeModel.of(model)));
      for (int i = 0; i < report.layers().size(); i++) {
        assertThat(ofOther.layers().get(i).retained().stream().map(e -> order[e]).sorted().toList())
            .isEqualTo(report.layers().get(i).retained());
        double loss = report.layers().get(i).loss().orElseThrow();
        assertThat(ofOther.layers().get(i).loss().orElseThrow())
            .isCloseTo(loss, within(1e-4 * loss));
      }
    }
  }

  @ParameterizedTest(name = "at most {0} subsets one by one")
  @ValueSource(longs = {20_000, 1})
  void groupsStayEquallyLarge(long limit) {
    try (Model model = loader(Fixtures.golden("deepseek_v3")).load()) {
      List<PruningMethod> methods =
          List.of(
              PruningMethod.reconstruction(limit),
              PruningMethod.random(),
              PruningMethod.frequency(),
              PruningMethod.softActivation());
      Map<Integer, Double> best = new TreeMap<>();
      for (PruningMethod method : methods) {
        PruningReport report =
            ExpertPruner.builder().optMethod(method).build().search(model, calibration(), 8);
        for (PruningReport.Layer layer : report.layers()) {
          for (int group = 0; group < 4; group++) {
            int first = 3 * group;
            assertThat(layer.retained().stream().filter(e -> e >= first && e < first + 3).count())
                .as(method.name())
                .isEqualTo(2);
          }
          best.putIfAbsent(layer.layer(), layer.loss().orElseThrow());
          assertThat(best.get(layer.layer())).isLessThanOrEqualTo(layer.loss().orElseThrow());
          if (method == methods.get(0) && limit > 1) {
            assertThat(layer.losses()).hasSize(81);
          }
        }
      }
    }
  }

  @Test
  void aNumberThatDoesNotDivideIntoTheGroupsIsRefused() {
    try (Model model = loader(Fixtures.golden("deepseek_v3")).load()) {
      assertThatThrownBy(() -> ExpertPruner.prune(model, calibration(), 10))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("Cannot retain 10 experts")
          .hasMessageContaining("4 groups")
          .hasMessageContaining("multiple of 4");
      assertThatThrownBy(() -> ExpertPruner.prune(model, calibration(), 4))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("at least 2");
    }
  }
}
