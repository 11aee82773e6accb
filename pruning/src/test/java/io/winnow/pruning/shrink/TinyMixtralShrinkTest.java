package io.winnow.pruning.shrink;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.internal.shrink.LayerOutcome;
import io.winnow.pruning.internal.shrink.LayerRecipe;
import io.winnow.pruning.internal.shrink.SequenceSplit;
import io.winnow.pruning.internal.shrink.Walk;
import io.winnow.pruning.internal.shrink.WalkSettings;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Narrowing and repair of the small trained Mixtral, calibrated on code. */
class TinyMixtralShrinkTest {
  private static final LayerwiseModel MODEL =
      MoeModels.layerwise(Fixtures.TINY_MIXTRAL, tensor -> {});

  @TempDir private Path folder;

  /** The calibration as a repair splits it, and text to compare on. */
  private static SequenceSplit split(TokenSequences compared) {
    SequenceSplit fit = SequenceSplit.forFit(Fixtures.naeeTokens("calib.code"));
    List<long[]> all = new ArrayList<>();
    for (TokenSequences part : List.of(fit.sequences(), compared)) {
      for (int i = 0; i < part.count(); i++) {
        all.add(part.sequence(i));
      }
    }
    return new SequenceSplit(
        TokenSequences.of(all.toArray(long[][]::new)), fit.fitted(), fit.held());
  }

  private static Walk.Result walk(
      Map<Integer, List<Integer>> retained, int width, boolean repair, TokenSequences compared) {
    Map<Integer, LayerRecipe> recipes = new TreeMap<>();
    for (LayerwiseModel.MoeLayer layer : MODEL.moeLayers()) {
      List<Integer> all = IntStream.range(0, layer.numExperts()).boxed().toList();
      recipes.put(
          layer.layer(),
          new LayerRecipe(retained.getOrDefault(layer.layer(), all), width, List.of()));
    }
    WalkSettings settings =
        new WalkSettings(
            Device.cpu(), 2048, 1L << 30, repair, SilentProgress.unless(null), "interrupted");
    return new Walk(MODEL, split(compared), settings).run(recipes, null);
  }

  private static double perplexity(Walk.Result result) {
    return Objects.requireNonNull(result.fidelity()).perplexity();
  }

  @Test
  void narrowExpertsAreBetterRepaired() {
    TokenSequences valid = Fixtures.naeeTokens("valid.code");
    Walk.Result half = walk(Map.of(), 128, true, valid);
    assertThat(perplexity(half)).isLessThanOrEqualTo(11.80);
    for (LayerOutcome layer : half.layers()) {
      assertThat(layer.after()).as("layer %d", layer.layer()).isLessThan(layer.before());
      assertThat(layer.held()).isLessThan(1);
    }
    assertThat(perplexity(walk(Map.of(), 192, true, valid))).isLessThanOrEqualTo(10.98);
  }

  @Test
  void whatIsNotCutIsNotChanged() {
    Walk.Result whole = walk(Map.of(), 256, true, Fixtures.naeeTokens("valid.code").slice(0, 2));
    assertThat(Objects.requireNonNull(whole.fidelity()).divergence()).isZero();
    assertThat(whole.layers()).allMatch(layer -> layer.lambda() == 0);
  }

  @Test
  void anUncutModelIsWrittenBitForBit() throws Exception {
    Path target = folder.resolve("same");
    NarrowingReport report =
        ExpertNarrower.builder()
            .build()
            .narrow(Fixtures.TINY_MIXTRAL, Fixtures.naeeCalibration("code"), 256, target);
    assertThat(report.layers()).allMatch(layer -> layer.lambda() == 0 && layer.width() == 256);
    assertThat(target.resolve("model.safetensors"))
        .hasSameBinaryContentAs(Fixtures.TINY_MIXTRAL.resolve("model.safetensors"));
  }

  @Test
  void shrinkKeepsItsLimitAndWritesTheBest() throws Exception {
    Path target = folder.resolve("shrunk");
    ShrinkReport report =
        ModelShrinker.builder()
            .build()
            .shrink(
                Fixtures.TINY_MIXTRAL,
                Fixtures.naeeCalibration("code"),
                new SizeLimit.FileSize(4_200_000),
                target);
    assertThat(Files.size(target.resolve("model.safetensors"))).isLessThanOrEqualTo(4_200_000);
    assertThat(report.candidates()).hasSizeGreaterThanOrEqualTo(5);
    assertThat(report.candidates())
        .allMatch(candidate -> candidate.divergence() >= report.best().divergence());
    assertThat(MoeModels.layerwise(target, tensor -> {}).intermediateSize())
        .isEqualTo(report.best().width());
    assertThat(report.toJson()).startsWith("{\"kind\":\"winnow-shrink-report\"");
  }

  @Test
  void whatCannotBeHadIsSaidWithTheNearest() {
    Calibration calibration = Fixtures.naeeCalibration("code");
    Path target = folder.resolve("none");
    ExpertNarrower narrower = ExpertNarrower.builder().optMultipleOf(32).build();
    assertThatThrownBy(() -> narrower.narrow(Fixtures.TINY_MIXTRAL, calibration, 100, target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessage("A width of 100 is no multiple of 32; the nearest are 96 and 128");
    assertThatThrownBy(
            () ->
                ModelShrinker.builder()
                    .build()
                    .shrink(Fixtures.TINY_MIXTRAL, calibration, new SizeLimit.Share(0.001), target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("2 experts of 8 channels")
        .hasMessageContaining("the least that can be had is a share of 0.0079");
    long[][] one = {calibration.sequences().sequence(0)};
    assertThatThrownBy(
            () ->
                ModelShrinker.builder()
                    .build()
                    .shrink(
                        Fixtures.TINY_MIXTRAL,
                        Calibration.ofTokens(one),
                        new SizeLimit.Share(0.5),
                        target))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("at least 2");
    assertThat(folder).isEmptyDirectory();
  }

  @Test
  void anInterruptLeavesNothing() {
    Path target = folder.resolve("interrupted");
    Thread.currentThread().interrupt();
    try {
      assertThatThrownBy(
              () ->
                  ExpertNarrower.builder()
                      .build()
                      .narrow(Fixtures.TINY_MIXTRAL, Fixtures.naeeCalibration("code"), 128, target))
          .isInstanceOf(CancellationException.class);
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
    assertThat(folder).isEmptyDirectory();
  }
}
