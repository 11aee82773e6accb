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
  private static final String DEFAULTS =
      """
      {"vocab_size": 32064, "hidden_size": 4096, "intermediate_size": 6400,
       "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": false, "num_experts_per_tok": 2, "num_local_experts": 16,
       "router_jitter_noise": 0.01, "attention_bias": false, "lm_head_bias": false,
       "rope_theta": 1000000.0}
      """;

  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "phimoe",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          Phimoe::config,
          (json, config, correction) ->
              SparseMixerRouting.of(json.doubleOr(0, "router_jitter_noise")),
          Mixtral.FAMILY.names());

  private Phimoe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    DecoderConfig config =
        DecoderConfig.read(json, TOP_K, EXPERTS)
            .expertSize("intermediate_size")
            .attentionBiases(json.booleanOr(false, "attention_bias"))
            .window(json.intOr(0, "sliding_window"))
            .rotaryFactorsByLength()
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
