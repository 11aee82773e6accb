package io.winnow.core.internal.family.llama;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.routing.SparseMixerRouting;
import java.util.List;

/**
 * Phi-3.5-MoE (arXiv 2404.14219): two winners, each with a softmax of its own; layer norms, biases
 * of attention and head.
 */
public final class Phimoe {
  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "phimoe",
          List.of(EXPERTS),
          TOP_K,
          Phimoe::config,
          (json, config, correction) ->
              SparseMixerRouting.of(json.doubleOr(0.01, "router_jitter_noise")),
          Mixtral.FAMILY.names());

  private Phimoe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    DecoderConfig config =
        DecoderConfig.read(json, TOP_K, EXPERTS)
            .defaults(1e6, 1e-5)
            .expertSize("intermediate_size")
            .attentionBiases(json.booleanOr(false, "attention_bias"))
            .window(json.intOr(0, "sliding_window"))
            .layerNorm()
            .biasedHead(json.booleanOr(false, "lm_head_bias"))
            .build();
    if (config.topK() != 2) {
      throw new InvalidInputException(
          TOP_K + " is " + config.topK() + " in config.json; this family's router has two winners");
    }
    return config;
  }
}
