package io.winnow.core.internal.family.glm;

import io.winnow.core.internal.family.deepseek.DeepseekV2;
import io.winnow.core.internal.family.deepseek.DeepseekV3;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.LayerTypes;
import java.util.List;

/** GLM-4.7-Flash: DeepSeek-V3's attention and routing; what is dense, each layer says. */
public final class Glm4MoeLite {
  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "glm4_moe_lite",
          List.of("n_routed_experts"),
          "num_experts_per_tok",
          json ->
              DeepseekV2.config(json, 1)
                  .defaults(1e6, 1e-5)
                  .interleavedRotary(json.booleanOr(true, "rope_interleave"))
                  .sparseLayers("intermediate_size", LayerTypes.sparse(json, 1))
                  .build(),
          DeepseekV3.routing(true),
          DeepseekV3.FAMILY.names());

  private Glm4MoeLite() {}
}
