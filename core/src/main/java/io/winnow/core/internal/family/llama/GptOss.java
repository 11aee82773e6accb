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
  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "gpt_oss",
          List.of(EXPERTS),
          TOP_K,
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
    int window = json.intOr(128, "sliding_window");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .defaults(1.5e5, 1e-5)
        .expertSize("intermediate_size")
        .attentionBiases(json.booleanOr(true, "attention_bias"))
        .attentionParts(true, MixerPart.SINKS)
        .window(window, LayerTypes.sliding(json, layer -> layer % 2 == 0))
        .build();
  }
}
