package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.form.Family;
import java.util.List;

/** FlexOlmo (arXiv 2507.07024): OLMoE with norms behind its blocks instead of before them. */
public final class FlexOlmo {
  private static final String DEFAULTS =
      """
      {"vocab_size": 100352, "hidden_size": 4096, "intermediate_size": 11008,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "max_position_embeddings": 4096, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "attention_bias": false, "num_experts_per_tok": 5,
       "num_experts": 7, "norm_topk_prob": false, "rope_theta": 500000.0}
      """;

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "flex_olmo",
          List.of("num_experts", "num_local_experts"),
          "num_experts_per_tok",
          DEFAULTS,
          json -> Olmoe.config(json).build(),
          Olmoe.FAMILY.routing(),
          Olmoe.FAMILY
              .names()
              .but()
              .mixerNorms(null, "post_attention_layernorm")
              .blockNorms(null, "post_feedforward_layernorm")
              .build());

  private FlexOlmo() {}
}
