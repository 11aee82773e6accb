package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.AttentionConfig.QueryKeyNorm;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.Family.ExpertNames;
import io.winnow.core.internal.form.Family.TensorNames;
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
          Olmoe::config,
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(false, "norm_topk_prob")),
          TensorNames.of("mlp", "gate.weight", ExpertNames.common()));

  private Olmoe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .defaults(1e4, 1e-5)
        .expertSize("intermediate_size")
        .attentionBiases(json.booleanOr(false, "attention_bias"))
        .queryKeyNorm(QueryKeyNorm.PROJECTION)
        .clip(json.doubleOr(0, "clip_qkv"))
        .build();
  }
}
