package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;

/** Mixtral (arXiv 2401.04088): softmax over the experts, top-k, renormalised. */
public final class Mixtral {
  private static final String DEFAULTS =
      """
      {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
       "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": false, "num_experts_per_tok": 2, "num_local_experts": 8,
       "rope_theta": 1000000.0}
      """;

  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "mixtral",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          Mixtral::config,
          (json, config, correction) -> SoftmaxRouting.of(config.topK(), true),
          TensorNames.builder(
                  "block_sparse_moe",
                  "gate.weight",
                  new ExpertNames.Single(
                      "experts.{expert}.w1.weight",
                      "experts.{expert}.w3.weight",
                      "experts.{expert}.w2.weight"))
              .build());

  private Mixtral() {}

  private static DecoderConfig config(CheckpointConfig json) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("intermediate_size")
        .window(json.intOr(0, "sliding_window"))
        .build();
  }
}
