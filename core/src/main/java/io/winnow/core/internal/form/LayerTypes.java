package io.winnow.core.internal.form;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.List;
import java.util.function.IntPredicate;

/** What config.json says of layers one by one, in the words that many families share. */
public final class LayerTypes {
  private LayerTypes() {}

  /**
   * Returns which layers {@code layer_types} calls so.
   *
   * @param otherwise says it of layers that are not in the list
   */
  public static IntPredicate are(CheckpointConfig json, String type, IntPredicate otherwise) {
    List<String> types = json.strings("layer_types").orElse(List.of());
    return layer -> layer < types.size() ? types.get(layer).equals(type) : otherwise.test(layer);
  }

  /**
   * Returns which layers see a window only.
   *
   * @param otherwise says it of layers that {@code layer_types} does not name
   */
  public static IntPredicate sliding(CheckpointConfig json, IntPredicate otherwise) {
    return are(json, "sliding_attention", otherwise);
  }

  /**
   * Returns which layers have experts, by {@code mlp_layer_types} or {@code first_k_dense_replace}.
   *
   * @param firstSparse the first of them where config.json does not say
   */
  public static IntPredicate sparse(CheckpointConfig json, int firstSparse) {
    List<String> types = json.strings("mlp_layer_types").orElse(List.of());
    int first = json.intOr(firstSparse, "first_k_dense_replace");
    return layer -> layer < types.size() ? !types.get(layer).equals("dense") : layer >= first;
  }
}
