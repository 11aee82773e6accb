package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.routing.ScoredRouting;
import io.winnow.core.routing.ScoredRouting.Score;
import java.util.List;

/**
 * MiniMax-M2: Mixtral's names; sigmoid, selected by the score plus a correction bias, renormalised;
 * all heads of queries and keys normalised together, a part of them rotated.
 */
public final class MiniMaxM2 {
  private static final String DEFAULTS =
      """
      {"vocab_size": 200064, "hidden_size": 3072, "intermediate_size": 1536,
       "num_hidden_layers": 62, "num_attention_heads": 48, "num_key_value_heads": 8,
       "head_dim": 128, "max_position_embeddings": 196608, "rms_norm_eps": 1e-06,
       "tie_word_embeddings": false, "num_experts_per_tok": 8,
       "num_local_experts": 256, "rope_theta": 5000000.0}
      """;

  private static final String[] EXPERTS = {"num_local_experts", "num_experts"};
  private static final String TOP_K = "num_experts_per_tok";

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "minimax_m2",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          json -> {
            // The hub's files say the rotated elements, which Transformers 5.17 overlooks.
            double headSize = json.requirePositiveInt("head_dim");
            return DecoderConfig.read(json, TOP_K, EXPERTS)
                .partialRotary(json.intOr((int) headSize, "rotary_dim") / headSize)
                .expertSize("intermediate_size")
                .attentionBiases(json.booleanOr(false, "attention_bias"))
                .queryKeyNorm(QueryKeyNorm.PROJECTION)
                .build();
          },
          (json, config, correction) -> {
            ScoredRouting.Builder routing =
                ScoredRouting.builder(Score.SIGMOID, config.experts(), config.topK())
                    .optNormalized(0, 0);
            return (correction == null ? routing : routing.optCorrection(correction)).build();
          },
          Mixtral.FAMILY.names().but().correction("e_score_correction_bias").build());

  private MiniMaxM2() {}
}
