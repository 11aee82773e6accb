package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.Fixtures;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.model.MoeModels;
import io.winnow.skipping.SkipPolicy;
import org.junit.jupiter.api.Test;

/** The complete examples of skipping do what they say. */
class WaysOfUseTest {
  @Test
  void aWrappedPredictorPredictsText() throws Exception {
    String next =
        SkippingTextPredictor.predict(
            Fixtures.TINY_MIXTRAL, Fixtures.TEXT.resolve("code.calib.txt"), "def __init__(self");
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
