package io.winnow.core.internal.family.deepseek;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.AttentionConfig.QueryKeyNorm;
import io.winnow.core.internal.form.AttentionPart;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import java.util.List;

/**
 * GLM-4.5 (arXiv 2508.06471): routed as DeepSeek-V3 is; grouped queries with biases, half of a head
 * rotated.
 */
public final class Glm4Moe {
  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "glm4_moe",
          List.of(EXPERTS),
          TOP_K,
          Glm4Moe::config,
          DeepseekV3::routing,
          DeepseekV3.FAMILY.names());

  private Glm4Moe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    int firstSparse = json.intOr(1, "first_k_dense_replace");
    int size = json.requirePositiveInt("moe_intermediate_size");
    boolean normalized = json.booleanOr(false, "use_qk_norm");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .defaults(1e4, 1e-5)
        .expertSize("moe_intermediate_size")
        .sharedSize(Math.multiplyExact(size, json.intOr(1, "n_shared_experts")))
        .sparseLayers("intermediate_size", layer -> layer >= firstSparse)
        .attentionParts(
            json.booleanOr(false, "attention_bias"),
            AttentionPart.QUERY_BIAS,
            AttentionPart.KEY_BIAS,
            AttentionPart.VALUE_BIAS)
        .queryKeyNorm(normalized ? QueryKeyNorm.HEAD : QueryKeyNorm.NONE)
        .partialRotary(0.5)
        .build();
  }
}
