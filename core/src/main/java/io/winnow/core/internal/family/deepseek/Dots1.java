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
  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "dots1",
          List.of(EXPERTS),
          TOP_K,
          json -> {
            int firstWindow = json.intOr(62, "max_window_layers");
            return DecoderConfig.read(json, TOP_K, EXPERTS)
                .expertSize("moe_intermediate_size")
                .sharedExperts(json.intOr(0, "n_shared_experts"))
                .sparseLayers("intermediate_size", LayerTypes.sparse(json, 0))
                .attentionBiases(json.booleanOr(false, "attention_bias"))
                .queryKeyNorm(QueryKeyNorm.HEAD)
                .window(
                    json.intOr(0, "sliding_window"),
                    LayerTypes.sliding(json, layer -> layer >= firstWindow))
                .build();
          },
          DeepseekV3.routing(false),
          DeepseekV3.FAMILY.names());

  private Dots1() {}
}
