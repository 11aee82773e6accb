package io.winnow.core.internal.family.glm;

import io.winnow.core.internal.family.deepseek.DeepseekV3;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import java.util.List;

/** Solar Open: GLM-4.5 without dense layers, norms of queries and keys, and biases. */
public final class SolarOpen {
  private static final String DEFAULTS =
      """
      {"vocab_size": 196608, "hidden_size": 4096, "num_hidden_layers": 48,
       "num_attention_heads": 64, "num_key_value_heads": 8,
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": false, "attention_bias": false,
       "moe_intermediate_size": 1280, "num_experts_per_tok": 8, "n_shared_experts": 1,
       "n_routed_experts": 128, "routed_scaling_factor": 1.0, "n_group": 1,
       "topk_group": 1, "norm_topk_prob": true, "head_dim": 128,
       "rope_theta": 1000000.0}
      """;

  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "solar_open",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          json ->
              DecoderConfig.read(json, TOP_K, EXPERTS)
                  .expertSize("moe_intermediate_size")
                  .sharedExperts(json.intOr(0, "n_shared_experts"))
                  .partialRotary(1)
                  .build(),
          DeepseekV3.routing(),
          DeepseekV3.FAMILY.names());

  private SolarOpen() {}
}
