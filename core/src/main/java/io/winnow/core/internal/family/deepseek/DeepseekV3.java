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
  private static final String DEFAULTS =
      """
      {"vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
       "moe_intermediate_size": 2048, "num_hidden_layers": 61,
       "num_attention_heads": 128, "num_key_value_heads": 128, "n_shared_experts": 1,
       "n_routed_experts": 256, "routed_scaling_factor": 2.5, "kv_lora_rank": 512,
       "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128,
       "qk_nope_head_dim": 128, "n_group": 8, "topk_group": 4,
       "num_experts_per_tok": 8, "first_k_dense_replace": 3, "norm_topk_prob": true,
       "max_position_embeddings": 4096, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "rope_interleave": true, "attention_bias": false,
       "rope_theta": 10000.0}
      """;

  public static final Family FAMILY =
      Family.of(
          "deepseek_v3",
          List.of("n_routed_experts"),
          "num_experts_per_tok",
          DEFAULTS,
          DeepseekV3::config,
          routing(),
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common())
              .correction("gate.e_score_correction_bias")
              .shared("shared_experts")
              .build());

  public static final Family KIMI_K2 = FAMILY.inside("kimi_k2", "", "");

  private DeepseekV3() {}

  private static DecoderConfig config(CheckpointConfig json) {
    return DeepseekV2.config(json)
        .interleavedRotary(json.booleanOr(false, "rope_interleave"))
        .build();
  }

  /** Returns the routing, which other lineages have too. */
  public static Family.RoutingFactory routing() {
    return (json, config, correction) -> {
      ScoredRouting.Builder routing =
          ScoredRouting.builder(Score.SIGMOID, config.experts(), config.topK())
              .optGroups(
                  json.intOr(1, "n_group"), json.intOr(1, "topk_group"), GroupScore.TWO_GREATEST)
              .optFactor(json.doubleOr(1, "routed_scaling_factor"));
      if (json.booleanOr(false, "norm_topk_prob")) {
        routing.optNormalized(1e-20, 0);
      }
      return (correction == null ? routing : routing.optCorrection(correction)).build();
    };
  }
}
