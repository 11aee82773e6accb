package io.winnow.skipping;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.ExpertMerge;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import io.winnow.core.routing.SoftmaxRouting;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SkipPolicyTest {
  @TempDir private Path folder;

  private static RoutingDecision routed(Routing routing, int experts, int tokens, long seed) {
    Random random = new Random(seed);
    float[] logits = new float[tokens * experts];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) (2 * random.nextGaussian());
    }
    return routing.route(logits, experts);
  }

  private static BetaSkipPolicy policy(BetaSkipPolicy.Rule rule, double beta) {
    return BetaSkipPolicy.of(rule, List.of(0), List.of(beta));
  }

  // ---- rules
  // -------------------------------------------------------------------------------------

  @ParameterizedTest(name = "beta {0}, renormalised {1}")
  @CsvSource({"0, true", "0.3, true", "0.7, true", "1, true", "0.3, false", "0.7, false"})
  void theRatioRuleDropsTheSecondExpertWhereItsWeightIsLessThanBetaTimesTheFirsts(
      double beta, boolean renormalized) {
    Routing routing = SoftmaxRouting.of(2, renormalized);
    RoutingDecision decision = routed(routing, 8, 300, 1);
    RoutingDecision remaining = policy(BetaSkipPolicy.Rule.RATIO, beta).apply(0, routing, decision);
    for (int token = 0; token < 300; token++) {
      boolean dropped = decision.weight(token, 1) < beta * decision.weight(token, 0);
      assertThat(remaining.expert(token, 0)).isEqualTo(decision.expert(token, 0));
      assertThat(remaining.expert(token, 1))
          .isEqualTo(dropped ? RoutingDecision.NONE : decision.expert(token, 1));
      float first = dropped && renormalized ? 1 : decision.weight(token, 0);
      assertThat(remaining.weight(token, 0)).isCloseTo(first, within(1e-6f));
      assertThat(remaining.weight(token, 1)).isEqualTo(dropped ? 0 : decision.weight(token, 1));
    }
  }

  @Test
  void theRatioRuleIsStrict() {
    RoutingDecision equal = RoutingDecision.of(2, new int[] {0, 1}, new float[] {0.5f, 0.25f});
    Routing routing = SoftmaxRouting.of(2, true);
    assertThat(policy(BetaSkipPolicy.Rule.RATIO, 0.5).apply(0, routing, equal)).isSameAs(equal);
    assertThat(policy(BetaSkipPolicy.Rule.RATIO, 0.51).apply(0, routing, equal).expert(0, 1))
        .isEqualTo(RoutingDecision.NONE);
  }

  @Test
  void theMassRuleWithTwoExpertsIsTheRatioRuleAfterTheChangeOfBeta() {
    Routing routing = SoftmaxRouting.of(2, true);
    RoutingDecision decision = routed(routing, 8, 500, 2);
    for (double beta : new double[] {0.1, 0.4, 0.8}) {
      assertThat(policy(BetaSkipPolicy.Rule.MASS, beta / (1 + beta)).apply(0, routing, decision))
          .isEqualTo(policy(BetaSkipPolicy.Rule.RATIO, beta).apply(0, routing, decision));
    }
  }

  @ParameterizedTest(name = "top-{0}, beta {1}, renormalised {2}")
  @CsvSource({"4, 0.1, true", "4, 0.4, false", "8, 0.05, true", "8, 0.3, false", "8, 1, true"})
  void theMassRuleEqualsAPlainDoubleLoop(int topK, double beta, boolean renormalized) {
    Routing routing = SoftmaxRouting.of(topK, renormalized);
    RoutingDecision decision = routed(routing, 32, 300, 3);
    RoutingDecision remaining = policy(BetaSkipPolicy.Rule.MASS, beta).apply(0, routing, decision);
    for (int token = 0; token < 300; token++) {
      double all = 0;
      for (int rank = 0; rank < topK; rank++) {
        all += decision.weight(token, rank);
      }
      int kept = 0;
      double rest;
      do {
        kept++;
        rest = 0;
        for (int rank = topK - 1; rank >= kept; rank--) {
          rest += decision.weight(token, rank);
        }
      } while (rest > beta * all);
      double sum = 0;
      for (int rank = 0; rank < kept; rank++) {
        sum += decision.weight(token, rank);
      }
      for (int rank = 0; rank < topK; rank++) {
        boolean stays = rank < kept;
        assertThat(remaining.expert(token, rank))
            .isEqualTo(stays ? decision.expert(token, rank) : RoutingDecision.NONE);
        double weight = decision.weight(token, rank) * (renormalized ? all / sum : 1);
        assertThat((double) remaining.weight(token, rank))
            .isCloseTo(stays ? weight : 0, within(1e-6));
      }
    }
  }

  @Test
  void fixedAndNoPolicyAndTheirComposition() {
    Routing routing = SoftmaxRouting.of(4, true);
    RoutingDecision decision = routed(routing, 8, 50, 4);
    assertThat(SkipPolicy.none().apply(0, routing, decision)).isSameAs(decision);
    assertThat(SkipPolicy.topK(4).apply(0, routing, decision)).isSameAs(decision);
    RoutingDecision two = SkipPolicy.topK(2).apply(0, routing, decision);
    assertThat(Skips.selected(two)).isEqualTo(100);
    assertThat(two.weight(7, 0) + two.weight(7, 1)).isCloseTo(1, within(1e-6f));
    SkipPolicy both = SkipPolicy.topK(3).andThen(policy(BetaSkipPolicy.Rule.MASS, 0.2));
    RoutingDecision three = SkipPolicy.topK(3).apply(0, routing, decision);
    assertThat(both.apply(0, routing, decision))
        .isEqualTo(policy(BetaSkipPolicy.Rule.MASS, 0.2).apply(0, routing, three));
    assertThatThrownBy(() -> SkipPolicy.topK(0)).isInstanceOf(InvalidInputException.class);
  }

  @Test
  void aHostAppliesAPolicyToItsOwnArrays() {
    Routing routing = SoftmaxRouting.of(2, true);
    RoutingDecision decision = routed(routing, 8, 20, 5);
    long[] ids = new long[40];
    for (int i = 0; i < 40; i++) {
      ids[i] = decision.expert(i / 2, i % 2);
    }
    try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
      RoutingDecision own =
          RoutingDecision.of(
              manager.create(ids, new Shape(20, 2)),
              manager.create(decision.weights(), new Shape(20, 2)));
      assertThat(own).isEqualTo(decision);
      assertThatThrownBy(
              () -> RoutingDecision.of(manager.create(ids), manager.create(decision.weights())))
          .isInstanceOf(IllegalArgumentException.class);
    }
  }

  // ---- calibration
  // -------------------------------------------------------------------------------

  private static Calibration calibration() {
    Random random = new Random(6);
    long[][] ids = new long[16][32];
    for (long[] sequence : ids) {
      for (int i = 0; i < sequence.length; i++) {
        sequence[i] = random.nextInt(50);
      }
    }
    return Calibration.ofTokens(ids);
  }

  private static Model load(Path checkpoint) {
    return MoeModels.loader(checkpoint)
        .optDevice(Device.cpu())
        .optDataType(DataType.FLOAT32)
        .load();
  }

  @ParameterizedTest(name = "top-{0}")
  @ValueSource(ints = {2, 3})
  void aWantedRateIsMetOnTheCalibrationTokens(int topK) throws Exception {
    Path checkpoint =
        new RandomCheckpoint().set("num_experts_per_tok", topK).write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      for (double rate : new double[] {0, 0.25, 0.5, 0.9}) {
        BetaSkipPolicy policy = SkipPolicy.calibrate(model, calibration(), rate);
        SkipCounter counter = new SkipCounter();
        MoeModel.of(model).routerHooks().set(policy.asHook(counter));
        MoeModel.of(model)
            .forward(
                calibration().sequences().slice(0, 16), new io.winnow.core.ForwardObserver() {});
        MoeModel.of(model).routerHooks().set(null);
        SkipStatistics statistics = counter.snapshot();
        // The second layer sees other inputs once the first skips; the first meets the rate itself.
        assertThat(statistics.layers().get(0).rate()).isCloseTo(rate, within(0.005));
        assertThat(statistics.layers().get(0).selected()).isEqualTo(512L * topK);
        assertThat(statistics.rate()).isCloseTo(rate, within(0.1));
      }
    }
  }

  @Test
  void calibrationRefusesWhatCannotBeSkipped() throws Exception {
    Path one = new RandomCheckpoint().set("num_experts_per_tok", 1).write(folder.resolve("one"));
    try (Model model = load(one)) {
      assertThatThrownBy(() -> SkipPolicy.calibrate(model, calibration()))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("one expert");
    }
    Path two = new RandomCheckpoint().write(folder.resolve("two"));
    try (Model model = load(two)) {
      for (double rate : new double[] {-0.1, 1.1, Double.NaN}) {
        assertThatThrownBy(() -> SkipPolicy.calibrate(model, calibration(), rate))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContaining(String.valueOf(rate));
      }
      assertThatThrownBy(
              () -> SkipPolicy.calibrate(model, Calibration.ofTokens(new long[][] {{1, 99}})))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("99");
      Thread.currentThread().interrupt();
      assertThatThrownBy(() -> SkipPolicy.calibrate(model, calibration()))
          .isInstanceOf(CancellationException.class);
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  // ---- files
  // -------------------------------------------------------------------------------------

  @Test
  void aPolicyIsTheSameAfterWritingAndReading() throws Exception {
    try (Model model = MoeModels.load(Fixtures.TINY_MIXTRAL, Device.cpu())) {
      Calibration calibration =
          Calibration.ofTokens(new long[][] {Fixtures.naeeTokens("calib.code").sequence(0)});
      BetaSkipPolicy policy = SkipPolicy.calibrate(model, calibration);
      Path file = folder.resolve("policy.json");
      policy.write(file);
      BetaSkipPolicy read = SkipPolicy.read(file);
      assertThat(read).isEqualTo(policy).hasSameHashCodeAs(policy).hasToString(policy.toString());
      assertThat(read.betas()).hasSize(4);
      assertThat(read.rule()).isEqualTo(BetaSkipPolicy.Rule.RATIO);
      JsonObject json = JsonParser.parseString(read.toJson()).getAsJsonObject();
      assertThat(json.get("model").getAsString())
          .isEqualTo(MoeModel.of(model).sourceDigest().orElseThrow());
      assertThat(json.get("calibration").getAsString()).isEqualTo(calibration.digest());
      read.checkFits(MoeModel.of(model));
    }
  }

  @Test
  void aFileSaysWhatItIs() throws Exception {
    Path file = folder.resolve("policy.json");
    BetaSkipPolicy policy = policy(BetaSkipPolicy.Rule.MASS, 0.5);
    policy.write(file);
    String written = Files.readString(file);
    assertThat(written).startsWith("{\n  \"kind\": \"winnow-skip-policy\",\n  \"version\": 1,");
    // As 0.1.0 wrote it.
    Files.writeString(file, written.replace("\"kind\": \"winnow-skip-policy\",", ""));
    assertThat(SkipPolicy.read(file)).isEqualTo(policy);
    Files.writeString(file, written.replace("winnow-skip-policy", "winnow-pruning-plan"));
    assertThatThrownBy(() -> SkipPolicy.read(file))
        .isInstanceOf(InvalidInputException.class)
        .hasMessage(
            file
                + " is a pruning plan (kind winnow-pruning-plan), not a skip policy (kind"
                + " winnow-skip-policy); make one with SkipPolicy.calibrate");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "[]",
        "{",
        "{\"version\": 2}",
        "{\"version\": 1}",
        "{\"version\": 1, \"rule\": \"ratio\", \"layers\": [0], \"betas\": []}",
        "{\"version\": 1, \"rule\": \"ratio\", \"layers\": [0], \"betas\": [1.5]}",
        "{\"version\": 1, \"rule\": \"ratio\", \"layers\": [1, 0], \"betas\": [0.5, 0.5]}",
        "{\"version\": 1, \"rule\": \"other\", \"layers\": [0], \"betas\": [0.5]}",
        "{\"version\": 1, \"rule\": \"ratio\", \"layers\": {}, \"betas\": [0.5]}"
      })
  void whatIsNoPolicyIsRefused(String text) throws Exception {
    Path file = Files.writeString(folder.resolve("policy.json"), text);
    assertThatThrownBy(() -> SkipPolicy.read(file)).isInstanceOf(InvalidInputException.class);
    assertThatThrownBy(() -> SkipPolicy.read(folder.resolve("absent")))
        .isInstanceOf(InvalidInputException.class);
  }

  @Test
  void aModelOfOtherLayersOrRoutingIsRefused() throws Exception {
    Path checkpoint =
        new RandomCheckpoint().set("num_experts_per_tok", 3).write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      MoeModel moe = MoeModel.of(model);
      assertThatThrownBy(() -> policy(BetaSkipPolicy.Rule.MASS, 0.5).checkFits(moe))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("[0]")
          .hasMessageContaining("[0, 1]");
      BetaSkipPolicy ratio =
          BetaSkipPolicy.of(BetaSkipPolicy.Rule.RATIO, List.of(0, 1), List.of(0.5, 0.5));
      assertThatThrownBy(() -> SkipPolicy.none().andThen(ratio).checkFits(moe))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("mass rule");
      assertThatThrownBy(
              () ->
                  ratio.apply(
                      7,
                      moe.moeLayers().get(0).routing(),
                      routed(SoftmaxRouting.of(2, true), 4, 1, 1)))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("layer 7");
    }
  }

  @Test
  void aMergeWithOneExpertPerTokenLeavesNothingToCalibrate() {
    Calibration calibration = Fixtures.naeeCalibration("code");
    try (Model model = MoeModels.load(Fixtures.TINY_MIXTRAL, Device.cpu())) {
      for (MoeLayerView layer : MoeModel.of(model).moeLayers()) {
        ((MergeableMoeLayer) layer).applyMerge(ExpertMerge.ofRetained(8, 0, 1, 2, 3), 1);
      }
      assertThatThrownBy(() -> SkipPolicy.calibrate(model, calibration))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("Every token selects one expert in layer 0");
      for (MoeLayerView layer : MoeModel.of(model).moeLayers()) {
        ((MergeableMoeLayer) layer).applyMerge(ExpertMerge.ofRetained(8, 0, 1, 2, 3), 2);
      }
      assertThat(SkipPolicy.calibrate(model, calibration).betas()).hasSize(4);
    }
  }
}
