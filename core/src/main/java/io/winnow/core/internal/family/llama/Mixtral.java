package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;

/** Mixtral (arXiv 2401.04088): softmax over the experts, top-k, renormalised. */
public final class Mixtral {
  private static final String EXPERTS = "num_local_experts";
  private static final String TOP_K = "num_experts_per_tok";

  public static final Family FAMILY =
      Family.of(
          "mixtral",
          List.of(EXPERTS),
          TOP_K,
          Mixtral::config,
          (json, config, correction) -> SoftmaxRouting.of(config.topK(), true),
          TensorNames.builder(
                  "block_sparse_moe",
                  "gate.weight",
                  new ExpertNames.Single(
                      "experts.{expert}.w1.weight",
                      "experts.{expert}.w3.weight",
                      "experts.{expert}.w2.weight"))
              .build());

  private Mixtral() {}

  private static DecoderConfig config(CheckpointConfig json) {
    return DecoderConfig.read(json, TOP_K, EXPERTS)
        .defaults(1e6, 1e-5)
        .expertSize("intermediate_size")
        .window(json.intOr(0, "sliding_window"))
        .build();
  }
}
