package io.winnow.core.internal.family.qwen;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.LayerTypes;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;
import java.util.function.IntPredicate;

/**
 * Qwen2-MoE and Qwen1.5-MoE (arXiv 2407.10671): softmax, top-k, and a shared expert behind a
 * sigmoid gate.
 */
public final class Qwen2Moe {
  private static final String DEFAULTS =
      """
      {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632,
       "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16,
       "max_position_embeddings": 32768, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "use_sliding_window": false,
       "sliding_window": 4096, "max_window_layers": 28, "decoder_sparse_step": 1,
       "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
       "num_experts_per_tok": 4, "num_experts": 60, "norm_topk_prob": false,
       "qkv_bias": true, "rope_theta": 10000.0}
      """;

  private static final String EXPERTS = "num_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "qwen2_moe",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          Qwen2Moe::config,
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(false, "norm_topk_prob")),
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common())
              .shared("shared_expert")
              .sharedGate("shared_expert_gate.weight")
              .build());

  private Qwen2Moe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    boolean windows = json.booleanOr(false, "use_sliding_window");
    int window = windows ? json.intOr(0, "sliding_window") : 0;
    int end = json.intOr(0, "max_window_layers");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sharedSize(json.requirePositiveInt("shared_expert_intermediate_size"))
        .sparseLayers("intermediate_size", sparse(json))
        .queryKeyValueBiases(json.booleanOr(false, "qkv_bias"))
        .window(window, LayerTypes.sliding(json, layer -> layer % 2 == 0 && layer < end))
        .build();
  }

  /** Returns which layers have experts, as all families of Qwen say it. */
  static IntPredicate sparse(CheckpointConfig json) {
    List<Integer> dense = json.ints("mlp_only_layers").orElse(List.of());
    int step = Math.max(1, json.intOr(1, "decoder_sparse_step"));
    return layer -> !dense.contains(layer) && (layer + 1) % step == 0;
  }
}
