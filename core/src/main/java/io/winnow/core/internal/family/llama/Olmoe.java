package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.DecoderConfigBuilder;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;

/** OLMoE (arXiv 2409.02060): softmax, top-k; all heads of queries and keys normalised together. */
public final class Olmoe {
  private static final String DEFAULTS =
      """
      {"vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 2048,
       "num_hidden_layers": 16, "num_attention_heads": 16,
       "max_position_embeddings": 4096, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": false, "attention_bias": false, "num_experts_per_tok": 8,
       "num_experts": 64, "norm_topk_prob": false, "rope_theta": 10000.0}
      """;

  private static final String[] EXPERTS = {"num_experts", "num_local_experts"};
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "olmoe",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          json -> config(json).build(),
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(false, "norm_topk_prob")),
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common()).build());

  private Olmoe() {}

  static DecoderConfigBuilder config(CheckpointConfig json) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("intermediate_size")
        .attentionBiases(json.booleanOr(false, "attention_bias"))
        .queryKeyNorm(QueryKeyNorm.PROJECTION)
        .clip(json.doubleOr(0, "clip_qkv"));
  }
}
