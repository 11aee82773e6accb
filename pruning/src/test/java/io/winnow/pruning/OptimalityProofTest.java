package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.Routing;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Branch and bound against looking at every subset. */
class OptimalityProofTest {
  private static LayerCalibration layer(long seed, int experts, Routing routing, int group) {
    FakeModel model = FakeModel.random(seed, 1, experts, 6, routing);
    LayerCalibration layer = new LayerCalibration(1, experts, routing, group, experts);
    CalibrationPassTest.pass(model, FakeModel.calibration(seed, 3, 16), layer, seed % 3 == 0);
    return layer;
  }

  @ParameterizedTest(name = "n = {0}, k = {1}, r = {2}")
  @CsvSource({"9, 1, 4", "9, 2, 5", "10, 3, 6", "10, 4, 8", "8, 2, 7", "8, 2, 2"})
  void whateverIsKnownBeforeTheBestIsFoundAndProved(int experts, int topK, int retained) {
    for (long seed = 0; seed < 5; seed++) {
      int group = seed % 2 == 0 ? 1000 : 16;
      LayerCalibration layer = layer(seed, experts, SoftmaxRouting.of(topK, true), group);
      List<SubsetLoss> losses = PruningMethod.reconstruction().choose(layer, retained, 0).losses();
      for (SubsetLoss known : List.of(losses.get(0), losses.get(losses.size() - 1))) {
        OptimalityProof.Result result = OptimalityProof.of(layer, known, 20_000);
        assertThat(result.proved()).as("seed %s", seed).isTrue();
        assertThat(result.best()).as("seed %s", seed).isEqualTo(losses.get(0));
      }
    }
  }

  @Test
  void aProvedChoiceIsExactAndFewBranchesSufficeWhereFewExpertsGo() {
    int proved = 0;
    for (long seed = 0; seed < 10; seed++) {
      LayerCalibration layer = layer(seed, 20, SoftmaxRouting.of(2, true), 1000);
      SubsetLoss best = PruningMethod.reconstruction().choose(layer, 17, 0).losses().get(0);
      // 1140 subsets.
      PruningMethod.Choice choice = PruningMethod.reconstruction(700).choose(layer, 17, 0);
      if (choice.exact()) {
        proved++;
        assertThat(choice.losses()).hasSize(2);
        assertThat(choice.losses().get(0)).as("seed %s", seed).isEqualTo(best);
      }
    }
    assertThat(proved).isPositive();
  }

  @Test
  void itGivesUpWhereBranchesDoNotSufficeOrWeightsDependOnAllExperts() {
    LayerCalibration layer = layer(1, 12, SoftmaxRouting.of(2, true), 1000);
    SubsetLoss best = PruningMethod.reconstruction().choose(layer, 6, 0).losses().get(0);
    assertThat(OptimalityProof.of(layer, best, 12))
        .isEqualTo(new OptimalityProof.Result(best, false));
    LayerCalibration other = layer(1, 8, SoftmaxRouting.of(2, false), 1000);
    SubsetLoss known = PruningMethod.reconstruction().choose(other, 6, 0).losses().get(0);
    assertThat(OptimalityProof.of(other, known, 20_000).proved()).isFalse();
  }
}
