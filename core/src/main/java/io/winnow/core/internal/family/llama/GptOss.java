package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.LayerTypes;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames.Layout;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;

/**
 * gpt-oss (arXiv 2508.10925): a softmax over the top-k logits; biases of router and experts,
 * clamped experts, attention sinks, every other layer with a sliding window.
 */
public final class GptOss {
  private static final String DEFAULTS =
      """
      {"num_hidden_layers": 36, "num_local_experts": 128, "vocab_size": 201088,
       "hidden_size": 2880, "intermediate_size": 2880, "head_dim": 64,
       "num_attention_heads": 64, "num_key_value_heads": 8, "sliding_window": 128,
       "tie_word_embeddings": false, "max_position_embeddings": 131072,
       "rms_norm_eps": 1e-05,
       "rope_parameters": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0,
        "beta_slow": 1.0, "truncate": false, "original_max_position_embeddings": 4096},
       "num_experts_per_tok": 4, "attention_bias": true, "rope_theta": 150000.0}
      """;

  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "gpt_oss",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          GptOss::config,
          (json, config, correction) -> SoftmaxRouting.of(config.topK(), true),
          TensorNames.builder(
                  "mlp",
                  "router.weight",
                  new ExpertNames.Fused(
                      Layout.ALTERNATING_COLUMNS,
                      "experts.gate_up_proj",
                      "experts.down_proj",
                      "experts.gate_up_proj_bias",
                      "experts.down_proj_bias"))
              .routerBias("router.bias")
              .build());

  private GptOss() {}

  private static DecoderConfig config(CheckpointConfig json) {
    int window = json.intOr(0, "sliding_window");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("intermediate_size")
        .attentionBiases(json.booleanOr(false, "attention_bias"))
        .attentionParts(true, MixerPart.SINKS)
        .window(window, LayerTypes.sliding(json, layer -> layer % 2 == 0))
        .build();
  }
}
