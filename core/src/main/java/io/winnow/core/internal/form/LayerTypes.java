package io.winnow.core.internal.form;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.List;
import java.util.function.IntPredicate;

/** What config.json says of layers one by one, in the words that many families share. */
public final class LayerTypes {
  private LayerTypes() {}

  private static IntPredicate are(
      CheckpointConfig json, String field, String type, String other, IntPredicate otherwise) {
    List<String> types = json.strings(field).orElse(List.of());
    for (String found : types) {
      if (!found.equals(type) && !found.equals(other)) {
        throw new InvalidInputException(
            field
                + " in config.json calls a layer '"
                + found
                + "'; layers of this family are "
                + other
                + " or "
                + type
                + ", correct it");
      }
    }
    return layer -> layer < types.size() ? types.get(layer).equals(type) : otherwise.test(layer);
  }

  /**
   * Returns which layers see a window only, by {@code layer_types}.
   *
   * @param otherwise says it of layers that are not in the list
   */
  public static IntPredicate sliding(CheckpointConfig json, IntPredicate otherwise) {
    return are(json, "layer_types", "sliding_attention", "full_attention", otherwise);
  }

  /**
   * Returns which layers see a chunk only, by {@code layer_types}.
   *
   * @param otherwise says it of layers that are not in the list
   */
  public static IntPredicate chunked(CheckpointConfig json, IntPredicate otherwise) {
    return are(json, "layer_types", "chunked_attention", "full_attention", otherwise);
  }

  /** Returns which layers have experts: those from {@code first_k_dense_replace} on. */
  public static IntPredicate sparseFrom(CheckpointConfig json) {
    int first = json.intOr(0, "first_k_dense_replace");
    return layer -> layer >= first;
  }

  /**
   * Returns which layers have experts, by {@code mlp_layer_types}, and else those from {@code
   * first_k_dense_replace} on.
   */
  public static IntPredicate sparse(CheckpointConfig json) {
    return are(json, "mlp_layer_types", "sparse", "dense", sparseFrom(json));
  }
}
