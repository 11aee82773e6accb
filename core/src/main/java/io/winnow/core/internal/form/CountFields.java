package io.winnow.core.internal.form;

import com.google.common.collect.ImmutableList;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

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

  /**
   * Sets a count under every name that a configuration has for it.
   *
   * @param names {@link #EXPERTS} or {@link #TOP_K}
   * @param own what it is called where none of them is there
   */
  public static void set(JsonObject json, List<String> names, String own, int count) {
    List<String> present = names.stream().filter(name -> isNumber(json.get(name))).toList();
    (present.isEmpty() ? List.of(own) : present).forEach(name -> json.addProperty(name, count));
  }

  private static boolean isNumber(@Nullable JsonElement value) {
    return value instanceof JsonPrimitive primitive && primitive.isNumber();
  }
}
