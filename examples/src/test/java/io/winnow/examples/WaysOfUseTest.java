package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.model.MoeModels;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The ways of use do what they say. */
class WaysOfUseTest {
  private static final Path CODE = Fixtures.TEXT.resolve("code.calib.txt");

  @TempDir private Path folder;

  @Test
  void theQuickstartRunsTwiceAndWritesCode() {
    Path target = folder.resolve("r6");
    String first = Quickstart.run(Fixtures.TINY_MIXTRAL, CODE, target, "def test_");
    assertThat(first).startsWith("def test_").hasSizeGreaterThan(40);
    assertThat(Checkpoint.open(target).config().requireInt("num_local_experts")).isEqualTo(6);
    assertThat(Quickstart.run(Fixtures.TINY_MIXTRAL, CODE, target, "def test_")).isEqualTo(first);
  }

  @Test
  void aServicePrunesAtItsStartByDocumentsInMemory() throws Exception {
    List<String> documents = List.of(Files.readString(CODE).split("\n\n"));
    try (Model model = PruneAtStartup.load(Fixtures.TINY_MIXTRAL, documents, 5)) {
      assertThat(MoeModel.of(model).moeLayers())
          .hasSize(4)
          .allSatisfy(layer -> assertThat(layer.numExperts()).isEqualTo(5));
    }
    List<String> few = List.of("def f():");
    assertThatThrownBy(() -> PruneAtStartup.load(Fixtures.TINY_MIXTRAL, few, 5))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("fewer than one sequence");
  }

  @Test
  void everyRequestHasItsPolicyAndGetsItsTextInPieces() {
    try (TextService service = new TextService(Fixtures.TINY_MIXTRAL)) {
      GenerationConfig config = GenerationConfig.greedy(24);
      List<String> pieces = new ArrayList<>();
      String whole = service.answer("def test_", config, SkipPolicy.none(), pieces::add);
      assertThat(pieces).hasSizeGreaterThan(5);
      assertThat(String.join("", pieces)).isEqualTo(whole);
      SkipCounter counter = new SkipCounter();
      SkipPolicy one = SkipPolicy.topK(1);
      MoeModel.of(service.model()).routerHooks().set(one.asHook(counter));
      assertThat(service.answer("def test_", config, SkipPolicy.none(), piece -> true))
          .as("the request's policy holds, not that of the model")
          .isEqualTo(whole);
      assertThat(counter.snapshot().layers()).isEmpty();
      assertThat(service.answer("def test_", config, one, piece -> true)).isNotEqualTo(whole);
      List<String> taken = new ArrayList<>();
      String stopped =
          service.answer(
              "def test_",
              config,
              SkipPolicy.none(),
              piece -> {
                taken.add(piece);
                return taken.size() < 3;
              });
      assertThat(whole).startsWith(stopped).isNotEqualTo(stopped);
    }
  }

  @Test
  void aWrappedPredictorPredictsText() throws Exception {
    String next = SkippingTextPredictor.predict(Fixtures.TINY_MIXTRAL, CODE, "def __init__(self");
    assertThat(next).isNotEmpty();
  }

  @Test
  void anOwnLoopEvaluatesTheExpertsThatRemain() {
    try (Model model =
            MoeModels.loader(Fixtures.TINY_MIXTRAL)
                .optDevice(Device.cpu())
                .optDataType(DataType.FLOAT32)
                .load();
        NDManager manager = model.getNDManager().newSubManager()) {
      MoeLayerView layer = MoeModel.of(model).moeLayers().get(1);
      NDArray hidden = manager.randomNormal(new Shape(5, 128));
      for (SkipPolicy policy : new SkipPolicy[] {SkipPolicy.none(), SkipPolicy.topK(1)}) {
        float[] actual =
            new OwnInferenceLoop(layer, policy).forward(manager, hidden).toFloatArray();
        RoutingDecision decision =
            policy.apply(
                1,
                layer.routing(),
                layer.routing().route(layer.routerLogits(hidden).toFloatArray(), 8));
        float[] expected = new float[5 * 128];
        for (int expert = 0; expert < 8; expert++) {
          float[] output = layer.expertOutput(expert, hidden).toFloatArray();
          for (int token = 0; token < 5; token++) {
            for (int rank = 0; rank < 2; rank++) {
              if (decision.expert(token, rank) == expert) {
                for (int i = 0; i < 128; i++) {
                  expected[token * 128 + i] +=
                      decision.weight(token, rank) * output[token * 128 + i];
                }
              }
            }
          }
        }
        assertThat(actual).containsExactly(expected, within(1e-4f));
      }
    }
  }
}
