package io.winnow.skipping;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.Model;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Skipping by weight in every family: calibrated, or refused where weights say nothing. */
class FamilySkippingTest {
  static List<String> families() {
    return FamilyFixtures.FAMILIES;
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void aRateIsCalibratedOrItsRefusalSaysWhy(String family) {
    TokenSequences inputs =
        Fixtures.tokens(Fixtures.golden(family).resolve("golden.safetensors"), "input_ids");
    Calibration calibration =
        Calibration.ofTokens(new long[][] {inputs.sequence(0), inputs.sequence(1)});
    try (Model model = MoeModels.loader(Fixtures.golden(family)).optDevice(Device.cpu()).load()) {
      if (family.equals("phimoe") || family.equals("llama4")) {
        assertThatThrownBy(() -> SkipPolicy.calibrate(model, calibration, 0.3))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContaining(family.equals("phimoe") ? "scale each" : "selects one expert");
        return;
      }
      SkipPolicy policy = SkipPolicy.calibrate(model, calibration, 0.3);
      AtomicLong selected = new AtomicLong();
      AtomicLong skipped = new AtomicLong();
      MoeModel.of(model)
          .forward(
              inputs,
              new ForwardObserver() {
                @Override
                public RoutingDecision onRouting(
                    MoeLayerView layer, float[] logits, RoutingDecision decision) {
                  RoutingDecision rest =
                      policy.apply(layer.layerIndex(), layer.routing(), decision);
                  for (int i = 0; i < decision.experts().length; i++) {
                    selected.incrementAndGet();
                    skipped.addAndGet(rest.experts()[i] == RoutingDecision.NONE ? 1 : 0);
                  }
                  return rest;
                }
              });
      assertThat(skipped.get()).isBetween(1L, selected.get() - 1);
    }
  }
}
