package io.winnow.core.internal.family.glm;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.family.deepseek.DeepseekV3;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.LayerTypes;
import java.util.List;

/**
 * GLM-4.5 (arXiv 2508.06471): routed as DeepSeek-V3 is; grouped queries with biases, half of a head
 * rotated.
 */
public final class Glm4Moe {
  private static final String DEFAULTS =
      """
      {"vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 10944,
       "num_hidden_layers": 46, "num_attention_heads": 96, "num_key_value_heads": 8,
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": false, "attention_bias": false,
       "moe_intermediate_size": 1408, "num_experts_per_tok": 8, "n_shared_experts": 1,
       "n_routed_experts": 128, "routed_scaling_factor": 1.0, "n_group": 1,
       "topk_group": 1, "first_k_dense_replace": 1, "norm_topk_prob": true,
       "use_qk_norm": false, "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
      """;

  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "glm4_moe",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          Glm4Moe::config,
          DeepseekV3.routing(),
          DeepseekV3.FAMILY.names());

  private Glm4Moe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    boolean normalized = json.booleanOr(false, "use_qk_norm");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sharedExperts(json.intOr(0, "n_shared_experts"))
        .sparseLayers("intermediate_size", LayerTypes.sparseFrom(json))
        .queryKeyValueBiases(json.booleanOr(false, "attention_bias"))
        .queryKeyNorm(normalized ? QueryKeyNorm.HEAD : QueryKeyNorm.NONE)
        .partialRotary(1)
        .build();
  }
}
