package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.routing.InputScalingRouting;
import io.winnow.core.routing.ScoredRouting;
import io.winnow.core.routing.ScoredRouting.GroupScore;
import io.winnow.core.routing.ScoredRouting.Score;
import io.winnow.core.routing.SoftmaxRouting;
import io.winnow.core.routing.SparseMixerRouting;
import io.winnow.pruning.internal.search.ActivationScores;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** EAN, REAP, MAN, MSAN and leave-one-out against plain loops over the tokens, in float64. */
class ActivationScoresTest {
  private static final int EXPERTS = 12;

  static List<Routing> routings() {
    float[] correction = new float[EXPERTS];
    for (int i = 0; i < EXPERTS; i++) {
      correction[i] = 0.05f * (i % 5);
    }
    return List.of(
        SoftmaxRouting.of(2, true),
        SoftmaxRouting.of(3, false),
        ScoredRouting.builder(Score.SIGMOID, EXPERTS, 3)
            .optCorrection(correction)
            .optNormalized(1e-20, 0)
            .optFactor(2.5)
            .build(),
        ScoredRouting.builder(Score.SIGMOID, EXPERTS, 3)
            .optGroups(3, 2, GroupScore.TWO_GREATEST)
            .optNormalized(1e-20, 0)
            .build(),
        ScoredRouting.builder(Score.SOFTMAX, EXPERTS, 2)
            .optGroups(4, 2, GroupScore.GREATEST)
            .optFactor(16)
            .build(),
        SparseMixerRouting.of(0.3),
        InputScalingRouting.of(1));
  }

  /** What one layer of random weights gives, computed once more by the book. */
  private static final class Reference {
    final FakeModel model;
    final Calibration calibration;
    final double[][] inputs;
    final double[][][] outputs; // [token][expert][width]
    final RoutingDecision decision;
    final float[] logits;

    Reference(long seed, Routing routing) {
      model = FakeModel.random(seed, 1, EXPERTS, 6, routing);
      calibration = FakeModel.calibration(seed, 4, 9);
      inputs = model.input(calibration, 0, Map.of());
      outputs = new double[inputs.length][EXPERTS][];
      float[][] x = new float[inputs.length][];
      for (int token = 0; token < x.length; token++) {
        x[token] = new float[6];
        for (int i = 0; i < 6; i++) {
          x[token][i] = (float) inputs[token][i];
        }
        for (int expert = 0; expert < EXPERTS; expert++) {
          outputs[token][expert] =
              FakeModel.tanh(model.layers.get(0).experts.get(expert), x[token]);
        }
      }
      logits = model.layers.get(0).logits(x);
      decision = routing.route(logits, EXPERTS);
    }

    double norm(int token, int expert) {
      return Math.sqrt(Arrays.stream(outputs[token][expert]).map(value -> value * value).sum());
    }

    /** The weight that a token gives an expert, 0 if it does not select it. */
    double weight(RoutingDecision routed, int token, int expert) {
      for (int rank = 0; rank < routed.topK(); rank++) {
        if (routed.expert(token, rank) == expert) {
          return routed.weight(token, rank);
        }
      }
      return 0;
    }

    double[] output(RoutingDecision routed, int token) {
      double[] sum = new double[6];
      for (int expert = 0; expert < EXPERTS; expert++) {
        for (int i = 0; i < 6; i++) {
          sum[i] += weight(routed, token, expert) * outputs[token][expert][i];
        }
      }
      return sum;
    }

    double[] scores(String method) {
      double[] scores = new double[EXPERTS];
      for (int expert = 0; expert < EXPERTS; expert++) {
        double sum = 0;
        int count = 0;
        for (int token = 0; token < inputs.length; token++) {
          double weight = weight(decision, token, expert);
          if (weight != 0) {
            double norm = norm(token, expert);
            count++;
            sum +=
                switch (method) {
                  case "ean", "man" -> norm;
                  case "msan" -> norm * norm;
                  default -> weight * norm;
                };
          }
        }
        scores[expert] = method.equals("ean") || count == 0 ? sum : sum / count;
        if (method.equals("leave-one-out")) {
          scores[expert] = lossWithout(expert);
        }
      }
      return scores;
    }

    /** The expert is never selected and, in a softmax, not there: its logit says so. */
    private double lossWithout(int expert) {
      float[] masked = logits.clone();
      for (int token = 0; token < inputs.length; token++) {
        masked[token * EXPERTS + expert] = -1e30f;
      }
      RoutingDecision without = model.layers.get(0).routing().route(masked, EXPERTS);
      double squares = 0;
      for (int token = 0; token < inputs.length; token++) {
        double[] before = output(decision, token);
        double[] after = output(without, token);
        for (int i = 0; i < 6; i++) {
          squares += Math.pow(after[i] - before[i], 2);
        }
      }
      return Math.sqrt(squares);
    }
  }

  private static PruningReport.Layer search(PruningMethod method, Reference on, int retained) {
    return on.model.firstLayer(
        ExpertPruner.builder().optMethod(method).optMeasureLoss(false), on.calibration, retained);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("routings")
  void everyScoreIsThatOfAPlainLoopOverTheTokens(Routing routing) {
    for (long seed = 0; seed < 4; seed++) {
      Reference reference = new Reference(seed, routing);
      for (PruningMethod method :
          List.of(
              PruningMethod.expertActivationNorm(),
              PruningMethod.reap(),
              PruningMethod.meanActivationNorm(),
              PruningMethod.meanSquaredActivationNorm(),
              PruningMethod.leaveOneOut())) {
        double[] scores = reference.scores(method.name());
        LayerCalibration[] seen = new LayerCalibration[1];
        search(capture(seen), reference, EXPERTS);
        double[] ours = scores(method, seen[0]);
        for (int expert = 0; expert < EXPERTS; expert++) {
          assertThat(ours[expert])
              .as("seed %s, %s, expert %s", seed, method.name(), expert)
              .isCloseTo(scores[expert], within(2e-6 * scores[expert] + 1e-9));
        }
        int groups = routing.groups();
        int size = EXPERTS / groups;
        for (int ofGroup = Math.max(2, (routing.topK() + 1) / 2); ofGroup <= size; ofGroup++) {
          int keep = ofGroup;
          List<Integer> expected =
              IntStream.range(0, groups)
                  .boxed()
                  .flatMap(
                      group ->
                          IntStream.range(group * size, (group + 1) * size)
                              .boxed()
                              .sorted(Comparator.comparingDouble((Integer e) -> -scores[e]))
                              .limit(groups == 1 ? Math.max(keep, routing.topK()) : keep))
                  .sorted()
                  .toList();
          assertThat(search(method, reference, expected.size()).retained())
              .as("seed %s, %s, %s", seed, method.name(), Arrays.toString(scores))
              .isEqualTo(expected);
        }
      }
    }
  }

  private static double[] scores(PruningMethod method, LayerCalibration layer) {
    return switch (method.name()) {
      case "ean" -> ActivationScores.sum(layer.table(), (weight, norm) -> norm);
      case "reap" -> ActivationScores.mean(layer.table(), (weight, norm) -> weight * norm);
      case "man" -> ActivationScores.mean(layer.table(), (weight, norm) -> norm);
      case "msan" -> ActivationScores.mean(layer.table(), (weight, norm) -> norm * norm);
      default -> ActivationScores.leaveOneOut(layer.table());
    };
  }

  /** A host's own method, which shows what it was given. */
  private static PruningMethod capture(LayerCalibration[] seen) {
    return new OwnMethod(
        "capture",
        true,
        (layer, retained) -> {
          seen[0] = layer;
          return new PruningMethod.Choice(
              IntStream.range(0, retained).boxed().toList(), false, List.of());
        });
  }

  @Test
  void anExpertThatNoTokenSelectsHasTheScoreNothingAndOfEqualsTheLowerIndexStays() {
    FakeModel model = FakeModel.selectingTwoAndFour();
    Calibration calibration = FakeModel.calibration(1, 3, 5);
    for (PruningMethod method : PruningMethod.all()) {
      if (!List.of("reconstruction", "random", "soft-activation").contains(method.name())) {
        ExpertPruner pruner = ExpertPruner.builder().optMethod(method).build();
        assertThat(pruner.search(model, calibration, 4).layers().get(0).retained())
            .as(method.name())
            .containsExactly(0, 1, 2, 4);
      }
    }
    LayerCalibration[] seen = new LayerCalibration[1];
    ExpertPruner.builder().optMethod(capture(seen)).build().search(model, calibration, 6);
    for (String method : List.of("ean", "reap", "man", "msan", "leave-one-out")) {
      double[] scores =
          scores(
              PruningMethod.all().stream()
                  .filter(m -> m.name().equals(method))
                  .findFirst()
                  .orElseThrow(),
              seen[0]);
      assertThat(scores).as(method).hasSize(6);
      for (int unused : List.of(0, 1, 3, 5)) {
        assertThat(scores[unused]).as(method).isEqualTo(0);
      }
      assertThat(Math.min(scores[2], scores[4])).as(method).isPositive();
    }
  }

  @Test
  void whereEveryTokenNeedsAllExpertsLeaveOneOutKeepsThem() {
    FakeModel model = FakeModel.random(1, 1, 3, 4, 3, true);
    assertThat(
            model
                .firstLayer(
                    ExpertPruner.builder().optMethod(PruningMethod.leaveOneOut()),
                    FakeModel.calibration(1, 2, 5),
                    3)
                .retained())
        .containsExactly(0, 1, 2);
  }
}
