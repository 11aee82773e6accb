package io.winnow.core.decoder;

import io.winnow.core.SoftmaxRouting;
import io.winnow.core.checkpoint.CheckpointConfig;
import io.winnow.core.decoder.Family.ExpertNames;
import io.winnow.core.decoder.Family.TensorNames;
import io.winnow.core.kernel.AttentionConfig.QueryKeyNorm;
import java.util.List;

/** Qwen3-MoE (arXiv 2505.09388): softmax, top-k, renormalised; queries and keys normalised. */
final class Qwen3Moe {
  private static final String[] EXPERTS = {"num_experts", "num_local_experts"};
  private static final String TOP_K = "num_experts_per_tok";

  static final Family FAMILY =
      Family.of(
          "qwen3_moe",
          List.of(EXPERTS),
          TOP_K,
          Qwen3Moe::config,
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(false, "norm_topk_prob")),
          TensorNames.of("mlp", "gate.weight", ExpertNames.common()));

  private Qwen3Moe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    boolean windows = json.booleanOr(false, "use_sliding_window");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sparseLayers("intermediate_size", Qwen2Moe.sparse(json))
        .attentionBiases(json.booleanOr(false, "attention_bias"))
        .queryKeyNorm(QueryKeyNorm.HEAD)
        .window(windows ? json.intOr(4096, "sliding_window") : 0)
        .build();
  }
}
