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
  private static final String[] EXPERTS = {"num_local_experts", "num_experts"};
  private static final String TOP_K = "num_experts_per_tok";
  private static final int HEAD_SIZE = 128;

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "minimax_m2",
          List.of(EXPERTS),
          TOP_K,
          json -> {
            double headSize = json.intOr(HEAD_SIZE, "head_dim");
            return DecoderConfig.read(json, TOP_K, EXPERTS)
                .defaults(5e6, 1e-6)
                .headSize(HEAD_SIZE)
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
