package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.nn.Blocks;
import ai.djl.util.Progress;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.pruning.internal.table.CalibrationPass;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Whatever is wrong, the message says what, and the model stays as it was. */
class ExpertPrunerErrorsTest {
  private final FakeModel model = FakeModel.random(1, 2, 6, 6, 2, true);
  private final Calibration calibration = FakeModel.calibration(1, 6, 8);

  @AfterEach
  void clearInterrupt() {
    Thread.interrupted();
  }

  private void assertRefused(Calibration tokens, int retained, String... parts) {
    assertRefused(ExpertPruner.builder().build(), tokens, retained, parts);
  }

  private void assertRefused(
      ExpertPruner pruner, Calibration tokens, int retained, String... parts) {
    String before = model.state();
    assertThatThrownBy(() -> pruner.pruneInPlace(model, tokens, retained))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(parts);
    assertThat(model.state()).isEqualTo(before);
  }

  @ParameterizedTest(name = "r = {0}")
  @ValueSource(ints = {1, 0, -3})
  void fewerThanATokenSelectsCannotBeRetained(int retained) {
    assertRefused(calibration, retained, "Cannot retain " + retained, "selects 2", "2 to 6");
    assertThat(model.forwards).isEqualTo(0);
  }

  @Test
  void moreThanThereAreCannotBeRetained() {
    assertRefused(calibration, 7, "Cannot retain 7", "layer 1 has 6", "2 to 6");
    assertThat(model.forwards).isEqualTo(0);
  }

  @ParameterizedTest(name = "{0} in layer {1}, {2}")
  @CsvSource({
    "NaN, 0, gate",
    "NaN, 1, gate",
    "Infinity, 0, gate",
    "-Infinity, 1, gate",
    "NaN, 0, expert",
    "NaN, 1, expert"
  })
  void weightsThatAreNotFiniteAreRefusedByEveryMethodThatSeesThem(
      float value, int place, String where) {
    FakeModel.Layer layer = model.layers.get(place);
    if (where.equals("gate")) {
      layer.gate[3][2] = value;
    } else {
      layer.experts.get(3)[0][2] = value;
    }
    for (boolean progressive : new boolean[] {false, true}) {
      for (PruningMethod method : PruningMethod.all()) {
        assertRefused(
            ExpertPruner.builder().optMethod(method).optProgressive(progressive).build(),
            calibration,
            4,
            "finite",
            where.equals("gate") ? "router's logit" : "expert 3 in layer " + layer.index);
      }
    }
  }

  @Test
  void aDamagedExpertThatNoTokenSelectsIsNoticed() {
    for (float[] row : model.embedding) {
      row[0] = 1;
    }
    model.layers.get(0).gate[3][0] = -100;
    model.layers.get(0).experts.get(3)[0][2] = Float.NaN;
    assertRefused(calibration, 4, "expert 3 in layer 1", "not finite");
  }

  @Test
  void tokensOutsideTheVocabularyAreRefused() {
    assertRefused(
        Calibration.ofTokens(new long[][] {{1, 2}, {3, FakeModel.VOCABULARY}}),
        4,
        "Token id 50",
        "vocabulary of 50");
    assertThat(model.forwards).isEqualTo(0);
  }

  @Test
  void sequencesLongerThanThePositionsAreRefused() {
    assertRefused(
        FakeModel.calibration(1, 2, FakeModel.POSITIONS + 1), 4, "65 tokens", "64 positions");
    assertThat(model.forwards).isEqualTo(0);
  }

  @Test
  void aModelWithoutMoeLayersIsRefused() {
    model.layers.clear();
    assertRefused(calibration, 4, "no MoE layer");
  }

  @Test
  void aDjlModelWhoseBlockIsNoMoeModelIsRefused() {
    try (Model other = Model.newInstance("plain", "PyTorch")) {
      other.setBlock(Blocks.identityBlock());
      for (Consumer<Model> use :
          List.<Consumer<Model>>of(
              m -> ExpertPruner.prune(m, calibration, 4),
              m -> ExpertPruner.builder().build().search(m, calibration, 4),
              m -> ExpertPruner.builder().build().pruneInPlace(m, calibration, 4))) {
        assertThatThrownBy(() -> use.accept(other))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContainingAll("'plain'", "no MoeModel");
      }
    }
  }

  @Test
  void negativeOptionsAreRefused() {
    ExpertPruner.Builder builder = ExpertPruner.builder();
    assertThatThrownBy(() -> builder.optSequencesPerGroup(-1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("-1");
    assertThatThrownBy(() -> builder.optBatchTokens(0))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("0");
  }

  @Test
  void aModelThatShowsOnlySomeTokensIsADefectOfTheHost() {
    MoeModel partial =
        new MoeModel() {
          @Override
          public List<? extends MoeLayerView> moeLayers() {
            return model.moeLayers();
          }

          @Override
          public int vocabularySize() {
            return model.vocabularySize();
          }

          @Override
          public int maxPositions() {
            return model.maxPositions();
          }

          @Override
          public void forward(TokenSequences sequences, ForwardObserver observer) {
            model.forward(sequences.slice(0, 1), observer);
          }
        };
    assertThatThrownBy(() -> ExpertPruner.prune(partial, calibration, 4))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("showed layer 1 8 of the 48 calibration tokens");
  }

  /** Interrupts its own thread after some batches. */
  private static final class InterruptAfter implements Progress {
    private final long batches;
    private long seen;

    InterruptAfter(long batches) {
      this.batches = batches;
    }

    @Override
    public void reset(String message, long max, String trailingMessage) {
      seen = 0;
    }

    @Override
    public void reset(String message, long max) {
      seen = 0;
    }

    @Override
    public void start(long initialProgress) {}

    @Override
    public void end() {}

    @Override
    public void increment(long increment) {
      seen += increment;
      update(seen);
    }

    @Override
    public void update(long progress, String message) {
      update(progress);
    }

    @Override
    public void update(long progress) {
      if (progress == batches) {
        Thread.currentThread().interrupt();
      }
    }
  }

  @ParameterizedTest(name = "{0}, progressive: {1}, after {2} batches")
  @CsvSource({
    "reconstruction, false, 1", "reconstruction, false, 3", "reconstruction, true, 1",
    "reconstruction, true, 3", "reconstruction, true, 6", "frequency, false, 3",
    "frequency, true, 6"
  })
  void anInterruptEndsTheRun(String name, boolean progressive, long batches) {
    PruningMethod method =
        PruningMethod.all().stream().filter(m -> m.name().equals(name)).findFirst().orElseThrow();
    ExpertPruner pruner =
        ExpertPruner.builder()
            .optMethod(method)
            .optProgressive(progressive)
            .optBatchTokens(16)
            .optProgress(new InterruptAfter(batches))
            .build();
    assertInterrupted(pruner);
  }

  private void assertInterrupted(ExpertPruner pruner) {
    String before = model.state();
    assertThatThrownBy(() -> pruner.pruneInPlace(model, calibration, 4))
        .isInstanceOf(CancellationException.class)
        .hasMessageContaining("unchanged");
    assertThat(Thread.currentThread().isInterrupted()).isTrue();
    assertThat(model.state()).isEqualTo(before);
  }

  static List<PruningMethod> methods() {
    return PruningMethod.all();
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("methods")
  void aThreadThatIsInterruptedAlreadyDoesNothing(PruningMethod method) {
    Thread.currentThread().interrupt();
    assertInterrupted(ExpertPruner.builder().optMethod(method).build());
  }

  @Test
  void anInterruptAmongTheSubsetsEndsTheRun() {
    // The last layer's search begins uninterrupted; its losses are computed one after another.
    PruningMethod search = PruningMethod.reconstruction();
    PruningMethod interrupting =
        new OwnMethod(
            "interrupting",
            true,
            (layer, retained) -> {
              Thread.currentThread().interrupt();
              return search.choose(layer, retained, 0);
            });
    assertInterrupted(ExpertPruner.builder().optMethod(interrupting).build());
    assertThat(model.forwards).isEqualTo(1);
  }

  @Test
  void aLossWithoutTheExpertsOutputsCannotBeAskedFor() {
    PruningMethod careless =
        new OwnMethod(
            "careless",
            false,
            (layer, retained) -> {
              assertThat(layer.hasExpertOutputs()).isFalse();
              assertThat(layer.toString()).contains("layer=1", "tokens=48");
              layer.loss(List.of(0, 1));
              return new PruningMethod.Choice(List.of(0, 1), false, List.of());
            });
    assertThatThrownBy(
            () ->
                ExpertPruner.builder()
                    .optMethod(careless)
                    .optMeasureLoss(false)
                    .build()
                    .search(model, calibration, 4))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("were not measured");
  }

  @Test
  void theArraysOfAHostsLayerAreClosed() {
    // Nothing of the layers' results outlives the pass in the manager of its input.
    int[] left = {-1};
    MoeLayerView layer = model.layers.get(0);
    model.forward(
        calibration.sequences(),
        new ForwardObserver() {
          @Override
          public boolean onInput(MoeLayerView view, NDArray hidden) {
            int before = hidden.getManager().getManagedArrays().size();
            CalibrationPass.add(
                new InnerProductTable(1, 6, layer.routing(), 48, 6), layer, hidden, true, null);
            left[0] = hidden.getManager().getManagedArrays().size() - before;
            return false;
          }
        });
    assertThat(left[0]).isEqualTo(0);
  }
}
