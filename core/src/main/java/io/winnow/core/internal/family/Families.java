package io.winnow.core.internal.family;

import com.google.common.collect.ImmutableMap;
import com.google.common.collect.Maps;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.family.deepseek.DeepseekV2;
import io.winnow.core.internal.family.deepseek.DeepseekV3;
import io.winnow.core.internal.family.deepseek.Dots1;
import io.winnow.core.internal.family.glm.Glm4Moe;
import io.winnow.core.internal.family.glm.Glm4MoeLite;
import io.winnow.core.internal.family.glm.SolarOpen;
import io.winnow.core.internal.family.llama.Ernie45Moe;
import io.winnow.core.internal.family.llama.FlexOlmo;
import io.winnow.core.internal.family.llama.GptOss;
import io.winnow.core.internal.family.llama.GraniteMoe;
import io.winnow.core.internal.family.llama.Llama4;
import io.winnow.core.internal.family.llama.MiniMaxM2;
import io.winnow.core.internal.family.llama.Mixtral;
import io.winnow.core.internal.family.llama.Olmoe;
import io.winnow.core.internal.family.llama.Phimoe;
import io.winnow.core.internal.family.qwen.Mellum;
import io.winnow.core.internal.family.qwen.Qwen2Moe;
import io.winnow.core.internal.family.qwen.Qwen3Moe;
import io.winnow.core.internal.form.Family;
import java.util.List;

/** The architecture families that can be read. */
public final class Families {
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
              Glm4MoeLite.FAMILY,
              SolarOpen.FAMILY,
              Dots1.FAMILY,
              FlexOlmo.FAMILY,
              Mellum.FAMILY,
              MiniMaxM2.FAMILY,
              GptOss.FAMILY,
              Llama4.TEXT,
              Llama4.MULTIMODAL),
          Family::modelType);

  /**
   * Precedes the model type of a checkpoint with router mappings, or with different numbers of
   * experts, so that loaders which know neither refuse it instead of misreading it.
   */
  public static final String OURS = "winnow_";

  private Families() {}

  /**
   * Returns the family of a checkpoint.
   *
   * @throws InvalidInputException if its model type is not supported
   */
  public static Family of(Checkpoint checkpoint) {
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
              + ". core/README.md says how to add a family, under 'Adding a family'");
    }
    return family;
  }
}
