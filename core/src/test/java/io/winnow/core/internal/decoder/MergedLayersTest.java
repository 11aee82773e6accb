package io.winnow.core.internal.decoder;

import static io.winnow.core.LoadedModels.relativeError;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import io.winnow.core.ExpertMerge;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LoadedModels;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.ResidentMemory;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.MoeModels;
import io.winnow.core.routing.MappedRouting;
import io.winnow.core.routing.SoftmaxRouting;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A running model whose layers compute with merged experts. */
public class MergedLayersTest {
  private static final int EXPERTS = 4;
  private static final long[] TOKENS = LongStream.range(1, 21).toArray();

  @TempDir private Path folder;

  public static MoeModels.Loader loader(Path checkpoint) {
    return LoadedModels.float32(checkpoint);
  }

  public static float[] logits(Model model) {
    return LoadedModels.logits(model, TOKENS);
  }

  public static List<? extends MergeableMoeLayer> layers(Model model) {
    return ((MoeDecoder) model.getBlock()).moeLayers();
  }

  public static void apply(Model model, ExpertMerge merge, int topK) {
    layers(model).forEach(layer -> layer.applyMerge(merge, topK));
  }

  static void undo(Model model) {
    layers(model).forEach(MergeableMoeLayer::undoMerge);
  }

  /** Near a choice of three experts, so that scores are positive. */
  public static ExpertMerge random(long seed) {
    Random random = new Random(seed);
    double[][] router = new double[3][EXPERTS];
    double[][] experts = new double[3][EXPERTS];
    for (int row = 0; row < 3; row++) {
      for (int i = 0; i < EXPERTS; i++) {
        router[row][i] = (row == i ? 1 : 0) + 0.3 * random.nextDouble();
        experts[row][i] = (row + 1 == i ? 1 : 0) + 0.3 * random.nextGaussian();
      }
    }
    return ExpertMerge.of(router, experts);
  }

  @ParameterizedTest(name = "fused = {0}")
  @ValueSource(booleans = {true, false})
  void theIdentityIsTheModelAndUndoRestoresItExactly(boolean fused) throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).optFused(fused).load()) {
      float[] before = logits(model);
      apply(model, ExpertMerge.ofRetained(EXPERTS, 0, 1, 2, 3), 2);
      assertThat(logits(model)).isEqualTo(before);
      apply(model, random(1), 2);
      assertThat(relativeError(logits(model), before)).isGreaterThan(0.01);
      undo(model);
      undo(model);
      assertThat(logits(model)).isEqualTo(before);
      assertThat(layers(model)).allMatch(layer -> layer.numExperts() == EXPERTS);
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @ValueSource(booleans = {true, false})
  void rowsThatSelectOneExpertEachArePlainPruning(boolean fused) throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).optFused(fused).load();
        Model pruned = loader(checkpoint).optFused(fused).load()) {
      MoeModel.of(pruned).moeLayers().forEach(layer -> layer.retain(0, 2, 3));
      apply(model, ExpertMerge.ofRetained(EXPERTS, 0, 2, 3), 2);
      assertThat(logits(model)).containsExactly(logits(pruned), within(1e-5f));
      apply(model, ExpertMerge.ofRetained(EXPERTS, 3, 0, 2), 2);
      assertThat(logits(model)).containsExactly(logits(pruned), within(1e-4f));
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @ValueSource(booleans = {true, false})
  void mergedWeightsAreTheWeightedSumsOfTheOriginalOnes(boolean fused) throws Exception {
    ExpertMerge mixed = random(2);
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    Path computed =
        new RandomCheckpoint()
            .set("num_local_experts", 3)
            .write(folder.resolve("computed"), merged(checkpoint, mixed.expertMerging()));
    ExpertMerge rowsOfTheGate =
        ExpertMerge.of(
            ExpertMerge.ofRetained(EXPERTS, 0, 1, 2).routerMapping(), mixed.expertMerging());
    try (Model model = loader(checkpoint).optFused(fused).load();
        Model expected = loader(computed).optFused(fused).load()) {
      apply(model, rowsOfTheGate, 2);
      assertThat(relativeError(logits(model), logits(expected))).isLessThan(1e-5);
    }
  }

  /** The tensors with plain loops' merged experts and the first rows of the gates. */
  private static List<OutputTensor> merged(Path checkpoint, double[][] factors) {
    SafetensorsFile file = SafetensorsFile.open(checkpoint.resolve("model.safetensors"));
    List<OutputTensor> tensors = new ArrayList<>();
    file.tensors()
        .forEach(
            (name, info) -> {
              int at = name.indexOf(".experts.");
              if (name.endsWith("gate.weight")) {
                tensors.add(OutputTensor.rows(info, name, 0, 1, 2));
              } else if (at < 0) {
                tensors.add(OutputTensor.copyOf(info));
              } else if (name.charAt(at + 9) < '3') {
                int row = name.charAt(at + 9) - '0';
                double[] sum = new double[(int) info.elements()];
                for (int expert = 0; expert < EXPERTS; expert++) {
                  float[] weights =
                      file.readFloats(name.replace(".experts." + row, ".experts." + expert));
                  for (int i = 0; i < sum.length; i++) {
                    sum[i] += factors[row][expert] * weights[i];
                  }
                }
                float[] rounded = new float[sum.length];
                for (int i = 0; i < sum.length; i++) {
                  rounded[i] = (float) sum[i];
                }
                tensors.add(OutputTensor.ofFloats(name, info.shape(), rounded));
              }
            });
    return tensors;
  }

  @Test
  void routerMappingsAreAppliedBetweenSoftmaxAndTopK() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    ExpertMerge merge = random(3);
    try (Model model = loader(checkpoint).load()) {
      apply(model, merge, 2);
      List<float[]> inputs = new ArrayList<>();
      List<RoutingDecision> decisions = new ArrayList<>();
      MoeModel.of(model)
          .forward(
              TokenSequences.of(new long[][] {TOKENS}),
              new ForwardObserver() {
                @Override
                public boolean onInput(MoeLayerView layer, NDArray hidden) {
                  try (NDArray logits = layer.routerLogits(hidden)) {
                    inputs.add(logits.toFloatArray());
                  }
                  return true;
                }

                @Override
                public RoutingDecision onRouting(
                    MoeLayerView layer, float[] logits, RoutingDecision decision) {
                  assertThat(logits).hasSize(3 * TOKENS.length);
                  decisions.add(decision);
                  return decision;
                }
              });
      MappedRouting routing =
          MappedRouting.of(SoftmaxRouting.of(2, true), merge.routerMapping(), 2);
      assertThat(decisions).hasSize(2);
      for (int layer = 0; layer < 2; layer++) {
        assertThat(decisions.get(layer)).isEqualTo(routing.route(inputs.get(layer), EXPERTS));
      }
    }
  }

  @Test
  void theFusedOperationsAgreeWithThePlainOnes() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model fused = loader(checkpoint).load();
        Model plain = loader(checkpoint).optFused(false).load()) {
      apply(fused, random(4), 2);
      apply(plain, random(4), 2);
      assertThat(relativeError(logits(fused), logits(plain))).isLessThan(1e-5);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"BF16", "F16"})
  void narrowTypesAreRoundedOnce(String type) throws Exception {
    Path checkpoint =
        new RandomCheckpoint().type(TensorType.valueOf(type)).write(folder.resolve("model"));
    try (Model narrow = MoeModels.load(checkpoint, Device.cpu());
        Model wide = loader(checkpoint).load()) {
      double unmerged = relativeError(logits(narrow), logits(wide));
      // All three are selected, so that rounding exchanges no experts.
      apply(narrow, random(5), 3);
      apply(wide, random(5), 3);
      double merged = relativeError(logits(narrow), logits(wide));
      assertThat(merged).as("%s against %s without merges", merged, unmerged).isLessThan(0.03);
      undo(narrow);
      undo(wide);
      assertThat(relativeError(logits(narrow), logits(wide))).isEqualTo(unmerged);
    }
  }

  @Test
  void aMergeDoesNotDependOnThoseBefore() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    double[][] changed = random(6).expertMerging();
    changed[1][0] += 0.5;
    ExpertMerge oneRow = ExpertMerge.of(random(6).routerMapping(), changed);
    try (Model model = loader(checkpoint).load();
        Model fresh = loader(checkpoint).load()) {
      apply(fresh, oneRow, 2);
      float[] expected = logits(fresh);
      for (ExpertMerge before :
          List.of(random(7), random(6), ExpertMerge.ofRetained(EXPERTS, 1, 0), oneRow, random(8))) {
        apply(model, before, 2);
      }
      undo(model);
      apply(model, random(6), 2);
      assertThat(logits(model)).isNotEqualTo(expected);
      apply(model, oneRow, 2);
      assertThat(logits(model)).isEqualTo(expected);
    }
  }

  @Test
  void fewerExpertsPerTokenNeedNoMerge() throws Exception {
    Path two = new RandomCheckpoint().write(folder.resolve("two"));
    Path one = new RandomCheckpoint().set("num_experts_per_tok", 1).write(folder.resolve("one"));
    try (Model model = loader(two).load();
        Model single = loader(one).load()) {
      apply(model, ExpertMerge.ofRetained(EXPERTS, 0, 1, 2, 3), 1);
      assertThat(logits(model)).isEqualTo(logits(single));
    }
  }

  @Test
  void hooksDecideOnMergedExperts() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).load()) {
      apply(model, random(9), 2);
      AtomicInteger calls = new AtomicInteger();
      MoeModel.of(model)
          .routerHooks()
          .set(
              (layer, logits, decision) -> {
                calls.incrementAndGet();
                assertThat(decision.experts()).containsOnly(0, 1, 2);
                return decision;
              });
      logits(model);
      assertThat(calls).hasValue(2);
      MoeModel.of(model)
          .routerHooks()
          .set(
              (layer, logits, decision) -> {
                int[] experts = decision.experts();
                experts[0] = 3;
                return RoutingDecision.of(2, experts, decision.weights());
              });
      assertThatThrownBy(() -> logits(model))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("whose experts are 0 to 2");
    }
  }

  @Test
  void aMergeThatDoesNotFitChangesNothing() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).load()) {
      MergeableMoeLayer layer = layers(model).get(1);
      layer.applyMerge(random(10), 2);
      float[] before = logits(model);
      assertThatThrownBy(() -> layer.applyMerge(ExpertMerge.ofRetained(5, 0, 1, 2), 2))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("of 5 experts, but layer 1 has 4");
      assertThatThrownBy(() -> layer.applyMerge(ExpertMerge.ofRetained(EXPERTS, 0), 2))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("cannot select 2 of 1");
      assertThatThrownBy(() -> layer.applyMerge(ExpertMerge.ofRetained(EXPERTS, 0), 0))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("top-k must be from 1 to 1");
      assertThatThrownBy(() -> layer.retain(0, 1))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("call undoMerge()");
      try (NDManager manager = model.getNDManager().newSubManager()) {
        NDArray ids = manager.create(TOKENS, new Shape(1, TOKENS.length));
        assertThatThrownBy(
                () ->
                    model
                        .getBlock()
                        .forward(new ParameterStore(manager, false), new NDList(ids), true))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContaining("call undoMerge() first");
      }
      assertThat(logits(model)).isEqualTo(before);
      layer.undoMerge();
      layer.retain(0, 1);
      layer.applyMerge(ExpertMerge.of(new double[][] {{1, 1}}, new double[][] {{0.5, 0.5}}), 1);
      assertThat(logits(model)).isNotEqualTo(before);
    }
  }

  @Test
  void aMergedModelNoLongerGivesItsCheckpointsDigest() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = loader(checkpoint).load()) {
      assertThat(MoeModel.of(model).sourceDigest()).isPresent();
      layers(model).get(0).applyMerge(random(11), 2);
      assertThat(MoeModel.of(model).sourceDigest()).isEmpty();
      layers(model).get(0).undoMerge();
      assertThat(MoeModel.of(model).sourceDigest()).isPresent();
    }
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void applyingAndUndoingManyTimesStaysFlat() throws Exception {
    Path checkpoint =
        new RandomCheckpoint()
            .set("hidden_size", 128)
            .set("intermediate_size", 512)
            .type(TensorType.BF16)
            .write(folder.resolve("model"));
    try (Model model = MoeModels.load(checkpoint, Device.cpu())) {
      int[] count = {0};
      // A set of merged experts has 2.4 MB; left behind each time it would be 380 MB.
      ResidentMemory.assertFlat(
          "apply and undo",
          200,
          96L << 20,
          () -> {
            int i = count[0]++;
            apply(model, random(i), 1 + i % 2);
            logits(model);
            if (i % 3 == 0) {
              undo(model);
            }
            return null;
          });
    }
  }
}
