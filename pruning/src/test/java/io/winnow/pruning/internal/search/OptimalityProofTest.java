package io.winnow.pruning.internal.search;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.Routing;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.pruning.FakeModel;
import io.winnow.pruning.Tables;
import io.winnow.pruning.internal.table.InnerProductTable;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Branch and bound against looking at every subset. */
class OptimalityProofTest {
  private static InnerProductTable layer(long seed, int experts, Routing routing, int group) {
    FakeModel model = FakeModel.random(seed, 1, experts, 6, routing);
    return Tables.measure(
        model, FakeModel.calibration(seed, 3, 16), routing, group, experts, seed % 3 == 0);
  }

  private static SubsetSearch.Result search(long limit, InnerProductTable layer, int retained) {
    return new SubsetSearch(limit).search(layer, retained, 0, Runnable::run);
  }

  @ParameterizedTest(name = "n = {0}, k = {1}, r = {2}")
  @CsvSource({"9, 1, 4", "9, 2, 5", "10, 3, 6", "10, 4, 8", "8, 2, 7", "8, 2, 2"})
  void whateverIsKnownBeforeTheBestIsFoundAndProved(int experts, int topK, int retained) {
    for (long seed = 0; seed < 5; seed++) {
      int group = seed % 2 == 0 ? 1000 : 16;
      InnerProductTable layer = layer(seed, experts, SoftmaxRouting.of(topK, true), group);
      List<ScoredSubset> losses = search(20_000, layer, retained).losses();
      for (ScoredSubset known : List.of(losses.get(0), losses.get(losses.size() - 1))) {
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
      InnerProductTable layer = layer(seed, 20, SoftmaxRouting.of(2, true), 1000);
      ScoredSubset best = search(20_000, layer, 17).losses().get(0);
      // 1140 subsets.
      SubsetSearch.Result choice = search(700, layer, 17);
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
    InnerProductTable layer = layer(1, 12, SoftmaxRouting.of(2, true), 1000);
    ScoredSubset best = search(20_000, layer, 6).losses().get(0);
    assertThat(OptimalityProof.of(layer, best, 12))
        .isEqualTo(new OptimalityProof.Result(best, false));
    InnerProductTable other = layer(1, 8, SoftmaxRouting.of(2, false), 1000);
    ScoredSubset known = search(20_000, other, 6).losses().get(0);
    assertThat(OptimalityProof.of(other, known, 20_000).proved()).isFalse();
  }
}
