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
  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "glm4_moe",
          List.of(EXPERTS),
          TOP_K,
          Glm4Moe::config,
          DeepseekV3.routing(true),
          DeepseekV3.FAMILY.names());

  private Glm4Moe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    boolean normalized = json.booleanOr(false, "use_qk_norm");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .defaults(1e4, 1e-5)
        .expertSize("moe_intermediate_size")
        .sharedExperts(json.intOr(1, "n_shared_experts"))
        .sparseLayers("intermediate_size", LayerTypes.sparse(json, 1))
        .queryKeyValueBiases(json.booleanOr(false, "attention_bias"))
        .queryKeyNorm(normalized ? QueryKeyNorm.HEAD : QueryKeyNorm.NONE)
        .partialRotary(0.5)
        .build();
  }
}
