package io.winnow.core.model;

import static io.winnow.core.LoadedModels.float32;
import static io.winnow.core.LoadedModels.load;
import static io.winnow.core.LoadedModels.logits;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.inference.Predictor;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import ai.djl.translate.NoopTranslator;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a model that was loaded computes, shows and refuses. */
class ModelRunningTest {
  @TempDir private Path folder;

  @Test
  void tokensThatDoNotFitTheModelAreErrors() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint);
        NDManager manager = model.getNDManager().newSubManager()) {
      assertThatThrownBy(() -> logits(model, 1, 50))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("50")
          .hasMessageContaining("position 1");
      assertThatThrownBy(() -> logits(model, -1)).isInstanceOf(InvalidInputException.class);
      assertThatThrownBy(() -> logits(model, new long[65]))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("65")
          .hasMessageContaining("64");
      ParameterStore store = new ParameterStore(manager, false);
      assertThatThrownBy(
              () ->
                  model
                      .getBlock()
                      .forward(store, new NDList(manager.create(new long[] {1})), false))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("[sequences, length]");
      assertThatThrownBy(
              () ->
                  model.getBlock().forward(store, new NDList(manager.ones(new Shape(1, 2))), false))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("int64");
      assertThatThrownBy(
              () ->
                  model
                      .getBlock()
                      .forward(
                          store, new NDList(manager.zeros(new Shape(1, 0), DataType.INT64)), false))
          .isInstanceOf(InvalidInputException.class);
      NDArray ids = manager.create(new long[] {1, 2}, new Shape(1, 2));
      assertThatThrownBy(() -> model.getBlock().forward(store, new NDList(ids, ids), false))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("one array");
      assertThatThrownBy(() -> ((MoeDecoder) model.getBlock()).newCache(-1))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("-1");
    }
  }

  @Test
  void aHooksImpossibleDecisionsAreErrors() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    TokenSequences sequences = TokenSequences.of(new long[][] {{1, 2}});
    Map<RoutingDecision, String> bad =
        Map.of(
            RoutingDecision.of(2, new int[] {0, 1}, new float[2]), "1 tokens",
            RoutingDecision.of(2, new int[] {0, 1, 2, 4}, new float[4]), "expert 4",
            RoutingDecision.of(2, new int[] {0, 1, 2, -2}, new float[4]), "expert -2",
            RoutingDecision.of(2, new int[] {0, 1, 2, 2}, new float[4]), "already");
    try (Model model = load(checkpoint)) {
      bad.forEach(
          (wrong, message) ->
              assertThatThrownBy(
                      () ->
                          MoeModel.of(model)
                              .forward(
                                  sequences,
                                  new ForwardObserver() {
                                    @Override
                                    public RoutingDecision onRouting(
                                        MoeLayerView layer,
                                        float[] logits,
                                        RoutingDecision decision) {
                                      return wrong;
                                    }
                                  }))
                  .isInstanceOf(InvalidInputException.class)
                  .hasMessageContaining(message));
    }
  }

  @Test
  void aDeviceThatIsNotThereIsAnError() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    assertThatThrownBy(() -> MoeModels.load(checkpoint, Device.gpu(99)))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("gpu(99)");
  }

  @Test
  void generationRefusesPromptsThatDoNotFit() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      Generator generator = Generator.of(model).withEndTokens(Set.of());
      assertThatThrownBy(() -> generator.generate(new long[0], 5))
          .isInstanceOf(InvalidInputException.class);
      assertThatThrownBy(() -> generator.generate(new long[65], 5))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("65");
      assertThatThrownBy(() -> generator.generate(new long[] {1}, 0))
          .isInstanceOf(InvalidInputException.class);
      assertThat(generator.generate(new long[60], 100)).hasSize(4);
      long first = generator.generate(new long[] {1}, 1)[0];
      assertThat(generator.withEndTokens(Set.of(first)).generate(new long[] {1}, 5))
          .containsExactly(first);
      Thread.currentThread().interrupt();
      assertThatThrownBy(() -> generator.generate(new long[] {1}, 5))
          .isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  @Test
  void retainingFewerExpertsGivesMappedMemoryBack() throws Exception {
    assumeTrue(Files.isReadable(Path.of("/proc/self/status")));
    Path checkpoint =
        new RandomCheckpoint()
            .type(TensorType.BF16)
            .set("hidden_size", 256)
            .set("intermediate_size", 4096)
            .set("num_local_experts", 8)
            .write(folder.resolve("model"));
    long expertBytes = 3L * 256 * 4096 * 2;
    try (Model model = MoeModels.load(checkpoint, Device.cpu())) {
      logits(model, LongStream.range(0, 40).toArray());
      long before = resident("RssFile:");
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 1));
      assertThat(before - resident("RssFile:"))
          .as("bytes given back of %d", 2 * 6 * expertBytes)
          .isGreaterThan(2 * 6 * expertBytes / 2);
      assertThat(logits(model, 1, 2, 3)).hasSize(150);
    }
  }

  private static long resident(String field) throws Exception {
    return Files.readAllLines(Path.of("/proc/self/status")).stream()
        .filter(line -> line.startsWith(field))
        .mapToLong(line -> 1024 * Long.parseLong(line.replaceAll("\\D", "")))
        .sum();
  }

  @Test
  void anOrdinaryPredictorRunsTheModel() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint);
        Predictor<NDList, NDList> predictor = model.newPredictor(new NoopTranslator());
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(new int[] {1, 2, 3}, new Shape(1, 3));
      try (NDArray output = predictor.predict(new NDList(ids)).singletonOrThrow()) {
        assertThat(output.getShape()).isEqualTo(new Shape(1, 3, 50));
        assertThat(output.toFloatArray()).containsExactly(logits(model, 1, 2, 3));
      }
      assertThat(model.getModelPath()).isEqualTo(checkpoint);
      assertThat(model.getName()).isEqualTo("model");
      assertThat(model.getBlock().getOutputShapes(new Shape[] {new Shape(2, 7)}))
          .containsExactly(new Shape(2, 7, 50));
    }
  }

  @Test
  void theOutputOfALayerIsTheWeightedSumOfItsExperts() throws Exception {
    Path checkpoint =
        new RandomCheckpoint().set("num_hidden_layers", 1).write(folder.resolve("model"));
    TokenSequences sequences = TokenSequences.of(new long[][] {{1, 2, 3, 4, 5}});
    for (DataType type : new DataType[] {DataType.FLOAT32, DataType.BFLOAT16}) {
      try (Model model =
          MoeModels.loader(checkpoint).optDevice(Device.cpu()).optDataType(type).load()) {
        Map<String, float[]> seen = new HashMap<>();
        MoeModel.of(model)
            .forward(
                sequences,
                new ForwardObserver() {
                  @Override
                  public boolean onInput(MoeLayerView layer, NDArray hidden) {
                    assertThat(hidden.getDataType()).isEqualTo(DataType.FLOAT32);
                    assertThat(hidden.getShape()).isEqualTo(new Shape(5, 16));
                    try (NDArray logits = layer.routerLogits(hidden)) {
                      seen.put("logits", logits.toFloatArray());
                    }
                    for (int expert = 0; expert < 4; expert++) {
                      try (NDArray output = layer.expertOutput(expert, hidden)) {
                        assertThat(output.getDataType()).isEqualTo(DataType.FLOAT32);
                        seen.put("expert" + expert, output.toFloatArray());
                      }
                    }
                    return true;
                  }

                  @Override
                  public RoutingDecision onRouting(
                      MoeLayerView layer, float[] logits, RoutingDecision decision) {
                    assertThat(logits).containsExactly(seen.get("logits"), within(1e-6f));
                    seen.put("weights", decision.weights());
                    return decision;
                  }
                });
        assertThat(seen).containsKeys("weights", "expert3");
      }
    }
  }

  @Test
  void anObserverMayEndThePassAndChangeTheRouting() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    TokenSequences sequences = TokenSequences.of(new long[][] {{1, 2, 3}});
    try (Model model = load(checkpoint);
        Model pruned = float32(checkpoint).optRetained(Fixtures.everywhere(2, 0, 1)).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      List<Integer> seen = new ArrayList<>();
      MoeModel.of(model)
          .forward(
              sequences,
              new ForwardObserver() {
                @Override
                public boolean onInput(MoeLayerView layer, NDArray hidden) {
                  seen.add(layer.layerIndex());
                  return false;
                }
              });
      assertThat(seen).containsExactly(0);

      ForwardObserver firstTwo =
          new ForwardObserver() {
            @Override
            public RoutingDecision onRouting(
                MoeLayerView layer, float[] logits, RoutingDecision decision) {
              float[] columns = new float[decision.tokens() * 2];
              for (int i = 0; i < columns.length; i++) {
                columns[i] = logits[i / 2 * 4 + i % 2];
              }
              return layer.routing().route(columns, 2);
            }
          };
      NDArray ids = manager.create(new long[] {1, 2, 3}, new Shape(1, 3));
      assertThat(((MoeDecoder) model.getBlock()).logits(ids, firstTwo).toFloatArray())
          // The weights lie at other addresses, by which MKL rounds differently.
          .containsExactly(logits(pruned, 1, 2, 3), within(1e-5f));
    }
  }

  @ParameterizedTest(name = "fused = {0}")
  @CsvSource({"true", "false"})
  void anExpertThatIsSkippedAddsNothing(boolean fused) throws Exception {
    Path checkpoint =
        new RandomCheckpoint().set("num_hidden_layers", 1).write(folder.resolve("model"));
    ForwardObserver onlyFirst =
        new ForwardObserver() {
          @Override
          public RoutingDecision onRouting(
              MoeLayerView layer, float[] logits, RoutingDecision decision) {
            int[] experts = decision.experts();
            float[] weights = decision.weights();
            for (int i = 1; i < experts.length; i += 2) {
              experts[i] = RoutingDecision.NONE;
            }
            return RoutingDecision.of(2, experts, weights);
          }
        };
    ForwardObserver zeroSecond =
        new ForwardObserver() {
          @Override
          public RoutingDecision onRouting(
              MoeLayerView layer, float[] logits, RoutingDecision decision) {
            float[] weights = decision.weights();
            for (int i = 1; i < weights.length; i += 2) {
              weights[i] = 0;
            }
            return RoutingDecision.of(2, decision.experts(), weights);
          }
        };
    try (Model model = float32(checkpoint).optFused(fused).load();
        NDManager manager = model.getNDManager().newSubManager()) {
      MoeDecoder decoder = (MoeDecoder) model.getBlock();
      for (long[] ids : new long[][] {{1, 2, 3, 4}, {5}}) {
        NDArray input = manager.create(ids, new Shape(1, ids.length));
        assertThat(decoder.logits(input, onlyFirst).toFloatArray())
            .containsExactly(decoder.logits(input, zeroSecond).toFloatArray(), within(1e-6f));
      }
    }
  }

  @Test
  void severalThreadsComputeWhatOneComputes() throws Exception {
    try (Model model = MoeModels.load(Fixtures.TINY_MIXTRAL, Device.cpu())) {
      List<float[]> expected =
          IntStream.range(0, 8).mapToObj(i -> logits(model, i, i + 1, i + 2)).toList();
      IntStream.range(0, 200)
          .parallel()
          .forEach(
              i ->
                  assertThat(logits(model, i % 8, i % 8 + 1, i % 8 + 2))
                      .isEqualTo(expected.get(i % 8)));
    }
  }
}
