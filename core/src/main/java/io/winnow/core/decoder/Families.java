package io.winnow.core.decoder;

import com.google.common.collect.ImmutableMap;
import com.google.common.collect.Maps;
import io.winnow.core.InvalidInputException;
import io.winnow.core.checkpoint.Checkpoint;
import java.util.List;

/** The architecture families that can be read. */
final class Families {
  private static final ImmutableMap<String, Family> BY_MODEL_TYPE =
      Maps.uniqueIndex(
          List.of(
              Mixtral.FAMILY,
              Qwen2Moe.FAMILY,
              Qwen3Moe.FAMILY,
              Olmoe.FAMILY,
              Phimoe.FAMILY,
              GraniteMoe.FAMILY,
              Ernie45Moe.FAMILY,
              DeepseekV2.FAMILY,
              DeepseekV3.FAMILY,
              DeepseekV3.KIMI_K2,
              Glm4Moe.FAMILY,
              GptOss.FAMILY,
              Llama4.TEXT,
              Llama4.MULTIMODAL),
          Family::modelType);

  /**
   * Precedes the model type of a checkpoint with router mappings, or with different numbers of
   * experts, so that loaders which know neither refuse it instead of misreading it.
   */
  static final String OURS = "winnow_";

  private Families() {}

  /**
   * Returns the family of a checkpoint.
   *
   * @throws InvalidInputException if its model type is not supported
   */
  static Family of(Checkpoint checkpoint) {
    String modelType = checkpoint.config().modelType();
    Family family =
        BY_MODEL_TYPE.get(
            modelType.startsWith(OURS) ? modelType.substring(OURS.length()) : modelType);
    if (family == null) {
      throw new InvalidInputException(
          "The model type '"
              + modelType
              + "' in "
              + checkpoint.folder().resolve("config.json")
              + " is not supported; supported are: "
              + String.join(", ", BY_MODEL_TYPE.keySet())
              + ". The README says how to add a family, under 'Families'");
    }
    return family;
  }
}
