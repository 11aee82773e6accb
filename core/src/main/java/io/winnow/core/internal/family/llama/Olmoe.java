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
  private static final String[] EXPERTS = {"num_experts", "num_local_experts"};
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "olmoe",
          List.of(EXPERTS),
          TOP_K,
          json -> config(json).build(),
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(false, "norm_topk_prob")),
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common()).build());

  private Olmoe() {}

  static DecoderConfigBuilder config(CheckpointConfig json) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .defaults(1e4, 1e-5)
        .expertSize("intermediate_size")
        .attentionBiases(json.booleanOr(false, "attention_bias"))
        .queryKeyNorm(QueryKeyNorm.PROJECTION)
        .clip(json.doubleOr(0, "clip_qkv"));
  }
}
