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
  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "deepseek_v2",
          List.of(EXPERTS),
          TOP_K,
          json -> config(json, 0).biasedFeedForward(json.booleanOr(false, "mlp_bias")).build(),
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

  /**
   * Reads what all versions have in common.
   *
   * @param sharedExperts where config.json does not say
   */
  public static DecoderConfigBuilder config(CheckpointConfig json, int sharedExperts) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sharedExperts(json.intOr(sharedExperts, "n_shared_experts"))
        .sparseLayers("intermediate_size", LayerTypes.sparse(json, 0))
        .interleavedRotary()
        .latent(json.booleanOr(false, "attention_bias"));
  }
}
