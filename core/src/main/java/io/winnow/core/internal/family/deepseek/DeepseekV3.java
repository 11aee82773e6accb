package io.winnow.core.internal.family.deepseek;

import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.Family.ExpertNames;
import io.winnow.core.internal.form.Family.TensorNames;
import io.winnow.core.routing.ScoredRouting;
import io.winnow.core.routing.ScoredRouting.GroupScore;
import io.winnow.core.routing.ScoredRouting.Score;
import java.util.List;
import org.jspecify.annotations.Nullable;

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
          DeepseekV3::routing,
          TensorNames.of("mlp", "gate.weight", ExpertNames.common())
              .withCorrection("gate.e_score_correction_bias")
              .withShared("shared_experts"));

  public static final Family KIMI_K2 = FAMILY.inside("kimi_k2", "", "");

  private DeepseekV3() {}

  private static DecoderConfig config(CheckpointConfig json) {
    DecoderConfig.Builder config = DeepseekV2.config(json);
    return (json.booleanOr(true, "rope_interleave") ? config : config.halvedRotary()).build();
  }

  /** Makes the routing, which GLM-4.5 has too. */
  static Routing routing(
      CheckpointConfig json, DecoderConfig config, float @Nullable [] correction) {
    ScoredRouting.Builder routing =
        ScoredRouting.builder(Score.SIGMOID, config.experts(), config.topK())
            .optGroups(
                json.intOr(1, "n_group"), json.intOr(1, "topk_group"), GroupScore.TWO_GREATEST)
            .optFactor(json.doubleOr(1, "routed_scaling_factor"));
    if (json.booleanOr(true, "norm_topk_prob")) {
      routing.optNormalized(1e-20, 0);
    }
    return (correction == null ? routing : routing.optCorrection(correction)).build();
  }
}
