package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.ScoredRouting;
import io.winnow.core.routing.ScoredRouting.Score;
import java.util.List;

/**
 * ERNIE 4.5 MoE: softmax, selected by the score plus a correction bias, renormalised; shared
 * experts, dense first layers, neighbours rotated.
 */
public final class Ernie45Moe {
  private static final String DEFAULTS =
      """
      {"vocab_size": 103424, "hidden_size": 2560, "intermediate_size": 12288,
       "num_hidden_layers": 28, "num_attention_heads": 20, "num_key_value_heads": 4,
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": true, "use_bias": false, "moe_intermediate_size": 1536,
       "moe_k": 6, "moe_num_experts": 64, "moe_num_shared_experts": 2,
       "moe_layer_start_index": 1, "moe_layer_end_index": -1, "moe_layer_interval": 1,
       "moe_norm_min": 1e-12, "rope_theta": 500000.0}
      """;

  private static final String EXPERTS = "moe_num_experts";
  private static final String TOP_K = "moe_k";

  public static final Family FAMILY =
      Family.of(
          "ernie4_5_moe",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          Ernie45Moe::config,
          (json, config, correction) -> {
            ScoredRouting.Builder routing =
                ScoredRouting.builder(Score.SOFTMAX, config.experts(), config.topK())
                    .optNormalized(0, json.doubleOr(0, "moe_norm_min"));
            return (correction == null ? routing : routing.optCorrection(correction)).build();
          },
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common())
              .correction("moe_statics.e_score_correction_bias")
              .shared("shared_experts")
              .build());

  private Ernie45Moe() {}

  private static DecoderConfig config(CheckpointConfig json) {
    // Of all projections but those of routed experts.
    boolean biased = json.booleanOr(false, "use_bias");
    int first = json.intOr(0, "moe_layer_start_index");
    int end = json.intOr(-1, "moe_layer_end_index");
    int last = end == -1 ? Integer.MAX_VALUE : end;
    int interval = Math.max(1, json.intOr(1, "moe_layer_interval"));
    int size = json.requirePositiveInt("moe_intermediate_size");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sharedSize(Math.multiplyExact(size, json.intOr(0, "moe_num_shared_experts")))
        .sparseLayers(
            "intermediate_size",
            layer -> (layer + 1) % interval == 0 && layer >= first && layer <= last)
        .interleavedRotary()
        .attentionBiases(biased)
        .biasedFeedForward(biased)
        .biasedHead(biased)
        .build();
  }
}
