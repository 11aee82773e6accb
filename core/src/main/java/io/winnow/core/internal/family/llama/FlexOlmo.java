package io.winnow.core.internal.family.llama;

import io.winnow.core.internal.form.Family;
import java.util.List;

/** FlexOlmo (arXiv 2507.07024): OLMoE with norms behind its blocks instead of before them. */
public final class FlexOlmo {
  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "flex_olmo",
          List.of("num_experts", "num_local_experts"),
          "num_experts_per_tok",
          json -> Olmoe.config(json).defaults(5e5, 1e-6).build(),
          Olmoe.FAMILY.routing(),
          Olmoe.FAMILY
              .names()
              .but()
              .mixerNorms(null, "post_attention_layernorm")
              .blockNorms(null, "post_feedforward_layernorm")
              .build());

  private FlexOlmo() {}
}
