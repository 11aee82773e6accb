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
  private static final String DEFAULTS =
      """
      {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
       "num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 4,
       "max_position_embeddings": 32768, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "attention_bias": false,
       "use_sliding_window": false, "sliding_window": 4096, "decoder_sparse_step": 1,
       "moe_intermediate_size": 768, "num_experts_per_tok": 8, "num_experts": 128,
       "norm_topk_prob": false, "rope_theta": 10000.0}
      """;

  private static final String[] EXPERTS = {"num_experts", "num_local_experts"};
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "qwen3_moe",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
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
        .window(windows ? json.intOr(0, "sliding_window") : 0);
  }
}
