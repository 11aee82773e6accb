package io.winnow.core.internal.family.deepseek;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.ScoredRouting;
import io.winnow.core.routing.ScoredRouting.GroupScore;
import io.winnow.core.routing.ScoredRouting.Score;
import java.util.List;

/**
 * DeepSeek-V3 (arXiv 2412.19437): sigmoid, selected by the score plus a correction bias of the
 * groups with the greatest pairs, renormalised and scaled; latent attention, shared experts, dense
 * first layers. Kimi K2 is built the same.
 */
public final class DeepseekV3 {
  public static final Family FAMILY =
      Family.of(
          "deepseek_v3",
          List.of("n_routed_experts"),
          "num_experts_per_tok",
          DeepseekV3::config,
          routing(true),
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common())
              .correction("gate.e_score_correction_bias")
              .shared("shared_experts")
              .build());

  public static final Family KIMI_K2 = FAMILY.inside("kimi_k2", "", "");

  private DeepseekV3() {}

  private static DecoderConfig config(CheckpointConfig json) {
    return DeepseekV2.config(json, 0)
        .interleavedRotary(json.booleanOr(true, "rope_interleave"))
        .build();
  }

  /**
   * Returns the routing, which other lineages have too.
   *
   * @param normalized whether the selected weights are renormalised where config.json does not say
   */
  public static Family.RoutingFactory routing(boolean normalized) {
    return (json, config, correction) -> {
      ScoredRouting.Builder routing =
          ScoredRouting.builder(Score.SIGMOID, config.experts(), config.topK())
              .optGroups(
                  json.intOr(1, "n_group"), json.intOr(1, "topk_group"), GroupScore.TWO_GREATEST)
              .optFactor(json.doubleOr(1, "routed_scaling_factor"));
      if (json.booleanOr(normalized, "norm_topk_prob")) {
        routing.optNormalized(1e-20, 0);
      }
      return (correction == null ? routing : routing.optCorrection(correction)).build();
    };
  }
}
