package io.winnow.pruning.internal.table;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.InvalidInputException;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.pruning.FakeModel;
import io.winnow.pruning.Subsets;
import io.winnow.pruning.Tables;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Inner products of some candidates against those of all experts. */
class CalibrationPassTest {
  private static InnerProductTable table(FakeModel model, int candidates, boolean withTarget) {
    return Tables.measure(
        model,
        FakeModel.calibration(3, 6, 12),
        model.layers.get(0).routing(),
        1000,
        candidates,
        withTarget);
  }

  @Test
  void candidatesAreTheBestAndTheirInnerProductsThoseOfAllExperts() {
    FakeModel model = FakeModel.random(3, 1, 9, 6, SoftmaxRouting.of(2, true));
    for (boolean withTarget : new boolean[] {false, true}) {
      TokenBatch all = table(model, 9, withTarget).batches().get(0);
      TokenBatch some = table(model, 4, withTarget).batches().get(0);
      float[] whole = all.products;
      float[] part = some.products;
      for (int token = 0; token < all.tokens; token++) {
        for (int place = 0; place < 9; place++) {
          int expert = all.experts[token * 9 + place];
          if (place > 0) {
            assertThat(all.logits[token * 9 + expert])
                .isLessThanOrEqualTo(all.logits[token * 9 + all.experts[token * 9 + place - 1]]);
          }
          if (place < 4) {
            assertThat(some.experts[token * 4 + place]).isEqualTo((char) expert);
          }
        }
        int vectors = withTarget ? 5 : 4;
        for (int i = 0; i < vectors; i++) {
          for (int j = 0; j <= i; j++) {
            int row = i == 4 ? 9 : i; // The target.
            int column = j == 4 ? 9 : j;
            assertThat(part[token * TokenBatch.row(vectors) + TokenBatch.row(i) + j])
                .isCloseTo(
                    whole[token * TokenBatch.row(all.vectors()) + TokenBatch.row(row) + column],
                    within(1e-5f));
          }
        }
      }
    }
  }

  @Test
  void aLossIsExactUntilATokenHasTooFewCandidatesLeft() {
    FakeModel model = FakeModel.random(3, 1, 9, 6, SoftmaxRouting.of(2, true));
    InnerProductTable all = table(model, 9, false);
    InnerProductTable some = table(model, 4, false);
    int exact = 0;
    int truncated = 0;
    for (List<Integer> kept : Subsets.of(9, 5)) {
      assertThat(all.truncatedTokens(kept)).isEqualTo(0);
      if (some.truncatedTokens(kept) == 0) {
        exact++;
        assertThat(some.loss(kept)).isCloseTo(all.loss(kept), within(1e-6));
      } else {
        truncated++;
      }
    }
    for (int dropped = 0; dropped < 9; dropped++) {
      List<Integer> kept = all.others(List.of(dropped));
      assertThat(some.truncatedTokens(kept)).isEqualTo(0);
      assertThat(some.loss(kept)).isCloseTo(all.loss(kept), within(1e-6));
    }
    assertThat(truncated).as("of which exact: %s", exact).isPositive();
  }

  @Test
  void damageOfAnExpertThatIsNoCandidateIsNoticed() {
    FakeModel model = FakeModel.random(3, 1, 9, 6, SoftmaxRouting.of(2, true));
    for (float[] row : model.embedding) {
      row[0] = 1;
    }
    model.layers.get(0).gate[5][0] = -100;
    model.layers.get(0).experts.get(5)[0][2] = Float.NaN;
    assertThatThrownBy(() -> table(model, 3, false))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("expert 5 in layer 1")
        .hasMessageContaining("not finite");
  }
}
