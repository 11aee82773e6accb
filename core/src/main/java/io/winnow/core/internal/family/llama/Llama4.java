package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.DecoderConfigBuilder;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.LayerTypes;
import io.winnow.core.internal.form.PositionForm.Growth;
import io.winnow.core.internal.form.PositionForm.Visibility;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames.Layout;
import io.winnow.core.routing.InputScalingRouting;
import java.util.List;
import java.util.Optional;
import java.util.function.IntPredicate;

/**
 * Llama 4, its text: the sigmoid of the greatest logit multiplies the expert's input; a shared
 * expert, layers that see chunks, layers that know no positions.
 */
public final class Llama4 {
  private static final String DEFAULTS =
      """
      {"vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 8192,
       "intermediate_size_mlp": 16384, "num_hidden_layers": 48,
       "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
       "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
       "tie_word_embeddings": false, "num_experts_per_tok": 1, "num_local_experts": 16,
       "interleave_moe_layer_step": 1, "use_qk_norm": true,
       "no_rope_layer_interval": 4, "attention_chunk_size": 8192,
       "attn_temperature_tuning": true, "floor_scale": 8192, "attn_scale": 0.1,
       "attention_bias": false, "rope_theta": 500000.0}
      """;

  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family TEXT =
      Family.of(
          "llama4_text",
          List.of(EXPERTS),
          TOP_K,
          DEFAULTS,
          Llama4::config,
          (json, config, correction) -> InputScalingRouting.of(config.topK()),
          TensorNames.builder(
                  "feed_forward",
                  "router.weight",
                  new ExpertNames.Fused(
                      Layout.COLUMNS, "experts.gate_up_proj", "experts.down_proj", null, null))
              .shared("shared_expert")
              .build());

  public static final Family MULTIMODAL = TEXT.inside("llama4", "text_config", "language_model.");

  private Llama4() {}

  private static DecoderConfig config(CheckpointConfig json) {
    int interval = json.requirePositiveInt("no_rope_layer_interval");
    List<Integer> positions = json.ints("no_rope_layers").orElse(List.of());
    IntPredicate rotated =
        layer -> layer < positions.size() ? positions.get(layer) != 0 : (layer + 1) % interval != 0;
    int chunk = json.intOr(0, "attention_chunk_size");
    IntPredicate chunked = LayerTypes.chunked(json, rotated);
    int step = json.requirePositiveInt("interleave_moe_layer_step");
    Optional<List<Integer>> sparse = json.ints("moe_layers");
    boolean normalized = json.booleanOr(false, "use_qk_norm");
    DecoderConfigBuilder config =
        DecoderConfig.read(json, TOP_K, EXPERTS)
            .expertSize("intermediate_size")
            .sharedSize(json.requirePositiveInt("intermediate_size"))
            .sparseLayers(
                "intermediate_size_mlp",
                layer -> sparse.map(list -> list.contains(layer)).orElse((layer + 1) % step == 0))
            .attentionBiases(json.booleanOr(false, "attention_bias"))
            .queryKeyNorm(normalized ? QueryKeyNorm.ROTATED : QueryKeyNorm.NONE)
            .interleavedRotary()
            .rotated(rotated)
            .visibility(layer -> new Visibility(0, chunked.test(layer) ? chunk : 0, false));
    if (json.booleanOr(false, "attn_temperature_tuning")) {
      Growth growth =
          new Growth(json.requireDouble("attn_scale"), json.requireDouble("floor_scale"));
      config.growth(layer -> rotated.test(layer) ? null : growth);
    }
    return config.build();
  }
}
