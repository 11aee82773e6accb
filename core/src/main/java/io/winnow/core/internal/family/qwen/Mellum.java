package io.winnow.core.internal.family.qwen;

import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.LayerTypes;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;
import java.util.function.IntPredicate;

/** Mellum 2: Qwen3-MoE with windows in some layers, which are rotated otherwise than the others. */
public final class Mellum {
  private static final String DEFAULTS =
      """
      {"vocab_size": 98304, "hidden_size": 2304, "intermediate_size": 7168,
       "num_hidden_layers": 28, "num_attention_heads": 32, "num_key_value_heads": 4,
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false,
       "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 500000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}},
       "attention_bias": false, "sliding_window": 1024, "moe_intermediate_size": 896,
       "num_experts_per_tok": 8, "num_experts": 64, "norm_topk_prob": true,
       "head_dim": 128}
      """;

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "mellum",
          List.of("num_local_experts", "num_experts"),
          "num_experts_per_tok",
          DEFAULTS,
          json -> {
            IntPredicate sliding = LayerTypes.sliding(json, layer -> false);
            return Qwen3Moe.config(json)
                .sparseLayers("intermediate_size", LayerTypes.sparse(json))
                .partialRotary(1)
                .window(json.intOr(0, "sliding_window"), sliding)
                .rotary(
                    List.of("sliding_attention", "full_attention"),
                    layer -> sliding.test(layer) ? "sliding_attention" : "full_attention")
                .build();
          },
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(false, "norm_topk_prob")),
          Qwen3Moe.FAMILY.names());

  private Mellum() {}
}
