package io.winnow.core.internal.family.glm;

import io.winnow.core.internal.family.deepseek.DeepseekV3;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import java.util.List;

/** Solar Open: GLM-4.5 without dense layers, norms of queries and keys, and biases. */
public final class SolarOpen {
  private static final String EXPERTS = "n_routed_experts";
  private static final String TOP_K = "num_experts_per_tok";

  /** The family. */
  public static final Family FAMILY =
      Family.of(
          "solar_open",
          List.of(EXPERTS),
          TOP_K,
          json ->
              DecoderConfig.read(json, TOP_K, EXPERTS)
                  .defaults(1e6, 1e-5)
                  .headSize(128)
                  .expertSize("moe_intermediate_size")
                  .sharedExperts(json.intOr(1, "n_shared_experts"))
                  .build(),
          DeepseekV3.routing(true),
          DeepseekV3.FAMILY.names());

  private SolarOpen() {}
}
