package io.winnow.core.internal.family.glm;

import io.winnow.core.internal.family.deepseek.DeepseekV2;
import io.winnow.core.internal.family.deepseek.DeepseekV3;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.LayerTypes;
import java.util.List;

/** GLM-4.7-Flash: DeepSeek-V3's attention and routing; what is dense, each layer says. */
public final class Glm4MoeLite {
  private static final String DEFAULTS =
      """
      {"vocab_size": 154880, "hidden_size": 2048, "intermediate_size": 10240,
       "moe_intermediate_size": 1536, "num_hidden_layers": 47,
       "num_attention_heads": 20, "num_key_value_heads": 20, "n_shared_experts": 1,
       "n_routed_experts": 64, "routed_scaling_factor": 1.8, "kv_lora_rank": 512,
       "q_lora_rank": 768, "qk_rope_head_dim": 64, "v_head_dim": 256,
       "qk_nope_head_dim": 192, "n_group": 1, "topk_group": 1,
       "num_experts_per_tok": 4, "norm_topk_prob": true,
       "max_position_embeddings": 202752, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": false, "rope_interleave": true, "first_k_dense_replace": 1, "attention_bias": false,
       "rope_theta": 10000.0}
      """;

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "glm4_moe_lite",
          List.of("n_routed_experts"),
          "num_experts_per_tok",
          DEFAULTS,
          json ->
              DeepseekV2.config(json)
                  .interleavedRotary(json.booleanOr(false, "rope_interleave"))
                  .sparseLayers("intermediate_size", LayerTypes.sparse(json))
                  .partialRotary(1)
                  .build(),
          DeepseekV3.routing(),
          DeepseekV3.FAMILY.names());

  private Glm4MoeLite() {}
}
