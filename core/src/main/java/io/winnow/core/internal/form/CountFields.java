package io.winnow.core.internal.form;

import com.google.common.collect.ImmutableList;
import java.util.Arrays;
import java.util.stream.Stream;

/**
 * The fields of {@code config.json} that count experts. Each family has its own, but files have
 * others beside them or in their place: Transformers takes several names for one number, and so do
 * tools that write for other loaders.
 */
public final class CountFields {
  /** Those that count the routed experts of a layer. */
  public static final ImmutableList<String> EXPERTS =
      ImmutableList.of("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts");

  /** Those that count the experts that a token selects. */
  public static final ImmutableList<String> TOP_K =
      ImmutableList.of(
          "num_experts_per_tok",
          "num_experts_per_token",
          "experts_per_token",
          "moe_k",
          "moe_topk",
          "num_selected_experts");

  private CountFields() {}

  /** Returns the fields of a family, and behind them the others that say the same. */
  static String[] with(ImmutableList<String> others, String... own) {
    return Stream.concat(Arrays.stream(own), others.stream()).distinct().toArray(String[]::new);
  }
}
