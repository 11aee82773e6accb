package io.winnow.core.internal.family.deepseek;

import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.LayerTypes;
import java.util.List;

/**
 * dots.llm1 (arXiv 2506.05767): routed as DeepSeek-V3 is; grouped queries, heads normalised,
 * windows in the last layers.
 */
public final class Dots1 {
  private static final String DEFAULTS =
      """
      {"vocab_size": 152064, "hidden_size": 4608, "intermediate_size": 10944,
       "moe_intermediate_size": 1408, "num_hidden_layers": 62,
       "num_attention_heads": 32, "num_key_value_heads": 32, "n_group": 1,
       "topk_group": 1, "first_k_dense_replace": 0, "norm_topk_prob": false,
       "max_position_embeddings": 2048, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "attention_bias": false,
       "routed_scaling_factor": 1.0, "sliding_window": 4096, "max_window_layers": 62,
       "rope_theta": 10000.0}
      """;

  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "dots1",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          json -> {
            int firstWindow = json.intOr(0, "max_window_layers");
            return DecoderConfig.read(json, TOP_K, EXPERTS)
                .expertSize("moe_intermediate_size")
                .sharedExperts(json.intOr(0, "n_shared_experts"))
                .sparseLayers("intermediate_size", LayerTypes.sparseFrom(json))
                .attentionBiases(json.booleanOr(false, "attention_bias"))
                .queryKeyNorm(QueryKeyNorm.HEAD)
                .window(
                    json.intOr(0, "sliding_window"),
                    LayerTypes.sliding(json, layer -> layer >= firstWindow))
                .build();
          },
          DeepseekV3.routing(),
          DeepseekV3.FAMILY.names());

  private Dots1() {}
}
