package io.winnow.core.internal.family.qwen;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.DecoderConfigBuilder;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;

/** Qwen3-MoE (arXiv 2505.09388): softmax, top-k, renormalised; queries and keys normalised. */
public final class Qwen3Moe {
  private static final String[] EXPERTS = {"num_experts", "num_local_experts"};
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "qwen3_moe",
          List.of(EXPERTS),
          TOP_K,
          json -> config(json).build(),
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(false, "norm_topk_prob")),
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common()).build());

  private Qwen3Moe() {}

  static DecoderConfigBuilder config(CheckpointConfig json) {
    boolean windows = json.booleanOr(false, "use_sliding_window");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sparseLayers("intermediate_size", Qwen2Moe.sparse(json))
        .attentionBiases(json.booleanOr(false, "attention_bias"))
        .queryKeyNorm(QueryKeyNorm.HEAD)
        .window(windows ? json.intOr(4096, "sliding_window") : 0);
  }
}
