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
  private static final String EXPERTS = "num_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "qwen2_moe",
          List.of(EXPERTS),
          TOP_K,
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
    int window = windows ? json.intOr(4096, "sliding_window") : 0;
    int plainLayers = json.intOr(28, "max_window_layers");
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .expertSize("moe_intermediate_size")
        .sharedSize(json.requirePositiveInt("shared_expert_intermediate_size"))
        .sparseLayers("intermediate_size", sparse(json))
        .queryKeyValueBiases(json.booleanOr(true, "qkv_bias"))
        .window(window, LayerTypes.sliding(json, layer -> layer >= plainLayers))
        .build();
  }

  /** Returns which layers have experts, as all families of Qwen say it. */
  static IntPredicate sparse(CheckpointConfig json) {
    List<Integer> dense = json.ints("mlp_only_layers").orElse(List.of());
    int step = Math.max(1, json.intOr(1, "decoder_sparse_step"));
    return layer -> !dense.contains(layer) && (layer + 1) % step == 0;
  }
}
