package io.winnow.core.decoder;

import io.winnow.core.Routing;
import io.winnow.core.ScoredRouting;
import io.winnow.core.ScoredRouting.GroupScore;
import io.winnow.core.ScoredRouting.Score;
import io.winnow.core.checkpoint.CheckpointConfig;
import io.winnow.core.decoder.Family.ExpertNames;
import io.winnow.core.decoder.Family.TensorNames;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * DeepSeek-V3 (arXiv 2412.19437): sigmoid, selected by the score plus a correction bias of the
 * groups with the greatest pairs, renormalised and scaled; latent attention, shared experts, dense
 * first layers. Kimi K2 is built the same.
 */
final class DeepseekV3 {
  static final Family FAMILY =
      Family.of(
          "deepseek_v3",
          List.of("n_routed_experts"),
          "num_experts_per_tok",
          DeepseekV3::config,
          DeepseekV3::routing,
          TensorNames.of("mlp", "gate.weight", ExpertNames.common())
              .withCorrection("gate.e_score_correction_bias")
              .withShared("shared_experts"));

  static final Family KIMI_K2 = FAMILY.inside("kimi_k2", "", "");

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
