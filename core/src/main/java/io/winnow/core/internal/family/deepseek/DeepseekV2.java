package io.winnow.core.internal.family.deepseek;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.DecoderConfigBuilder;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.LayerTypes;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.ScoredRouting;
import io.winnow.core.routing.ScoredRouting.GroupScore;
import io.winnow.core.routing.ScoredRouting.Score;
import java.util.List;

/**
 * DeepSeek-V2 (arXiv 2405.04434): softmax, top-k greedily or of the groups with the greatest score,
 * not renormalised; latent attention, shared experts, dense first layers.
 */
public final class DeepseekV2 {
  private static final String DEFAULTS =
      """
      {"vocab_size": 102400, "hidden_size": 4096, "intermediate_size": 11008,
       "num_hidden_layers": 32, "num_attention_heads": 32,
       "max_position_embeddings": 2048, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "attention_bias": false, "mlp_bias": false,
       "first_k_dense_replace": 0, "kv_lora_rank": 512, "q_lora_rank": 1536,
       "n_routed_experts": 64, "n_shared_experts": 2, "qk_nope_head_dim": 128,
       "qk_rope_head_dim": 64, "routed_scaling_factor": 1.0, "topk_method": "greedy",
       "norm_topk_prob": false, "v_head_dim": 128, "moe_intermediate_size": 1407,
       "rope_theta": 10000.0}
      """;

  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "deepseek_v2",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          json -> config(json).biasedFeedForward(json.booleanOr(false, "mlp_bias")).build(),
          (json, config, correction) -> {
            ScoredRouting.Builder routing =
                ScoredRouting.builder(Score.SOFTMAX, config.experts(), config.topK())
                    .optFactor(json.doubleOr(1, "routed_scaling_factor"));
            String method = json.string("topk_method").orElse("greedy");
            return switch (method) {
              case "greedy" -> routing.build();
              case "group_limited_greedy" ->
                  routing
                      .optGroups(
                          json.requirePositiveInt("n_group"),
                          json.requirePositiveInt("topk_group"),
                          GroupScore.GREATEST)
                      .build();
              default ->
                  throw new InvalidInputException(
                      "topk_method is '"
                          + method
                          + "' in config.json; known are greedy and group_limited_greedy");
            };
          },
          TensorNames.builder("mlp", "gate.weight", ExpertNames.common())
              .shared("shared_experts")
              .build());

  private DeepseekV2() {}

  /** Reads what all versions have in common. */
  public static DecoderConfigBuilder config(CheckpointConfig json) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sharedExperts(json.intOr(0, "n_shared_experts"))
        .sparseLayers("intermediate_size", LayerTypes.sparseFrom(json))
        .interleavedRotary()
        .latent(json.booleanOr(false, "attention_bias"));
  }
}
