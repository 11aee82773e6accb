package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames.Layout;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;

/**
 * Granite 3 MoE: a softmax over the top-k logits, which is a softmax over all of them,
 * renormalised; factors of embeddings, residual and logits.
 */
public final class GraniteMoe {
  private static final String DEFAULTS =
      """
      {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "max_position_embeddings": 2048, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "attention_bias": false,
       "embedding_multiplier": 1.0, "logits_scaling": 1.0, "residual_multiplier": 1.0,
       "attention_multiplier": 1.0, "num_local_experts": 8, "num_experts_per_tok": 2,
       "rope_theta": 10000.0}
      """;

  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "granitemoe",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          GraniteMoe::config,
          (json, config, correction) -> SoftmaxRouting.of(config.topK(), true),
          TensorNames.builder(
                  "block_sparse_moe",
                  "router.layer.weight",
                  new ExpertNames.Fused(
                      Layout.ROWS, "input_linear.weight", "output_linear.weight", null, null))
              .build());

  private GraniteMoe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("intermediate_size")
        .attentionBiases(json.booleanOr(false, "attention_bias"))
        .scale(json.doubleOr(1, "attention_multiplier"))
        .factors(
            json.doubleOr(1, "embedding_multiplier"),
            json.doubleOr(1, "residual_multiplier"),
            json.doubleOr(1, "logits_scaling"))
        .build();
  }
}
