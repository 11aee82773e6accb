package io.winnow.core.internal.family.qwen;

import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.LayerTypes;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.List;
import java.util.function.IntPredicate;

/** Mellum 2: Qwen3-MoE with windows in some layers, which are rotated otherwise than the others. */
public final class Mellum {
  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "mellum",
          List.of("num_local_experts", "num_experts"),
          "num_experts_per_tok",
          json -> {
            IntPredicate sliding = LayerTypes.sliding(json, layer -> false);
            return Qwen3Moe.config(json)
                .defaults(5e5, 1e-6)
                .headSize(128)
                .sparseLayers("intermediate_size", LayerTypes.sparse(json, 0))
                .window(json.intOr(1024, "sliding_window"), sliding)
                .rotary(
                    List.of("sliding_attention", "full_attention"),
                    layer -> sliding.test(layer) ? "sliding_attention" : "full_attention")
                .build();
          },
          (json, config, correction) ->
              SoftmaxRouting.of(config.topK(), json.booleanOr(true, "norm_topk_prob")),
          Qwen3Moe.FAMILY.names());

  private Mellum() {}
}
