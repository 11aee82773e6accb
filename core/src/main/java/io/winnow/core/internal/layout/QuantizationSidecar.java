package io.winnow.core.internal.layout;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.file.Json;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Files beside config.json in which quantisers describe weights, some of them there alone: those of
 * ModelOpt, AutoGPTQ and AutoAWQ. None of their formats is read.
 */
final class QuantizationSidecar {
  /**
   * Where a file says that the weights are quantised.
   *
   * @param file its name
   * @param section the object in it that says so; empty for the whole
   * @param field absent, null or "NO_QUANT" where the weights are as they were
   */
  private record Place(String file, String section, String field) {}

  private static final List<Place> PLACES =
      List.of(
          new Place("hf_quant_config.json", "quantization", "quant_algo"),
          new Place("quantize_config.json", "", "bits"),
          new Place("quant_config.json", "", "w_bit"));

  private QuantizationSidecar() {}

  /**
   * Refuses weights whose only description is such a file.
   *
   * @throws InvalidInputException if there is one that says that the weights are quantised
   */
  static void requireNone(Checkpoint checkpoint) {
    for (Place place : PLACES) {
      Path file = checkpoint.folder().resolve(place.file());
      if (Files.isRegularFile(file)) {
        JsonObject content = Json.readObject(file);
        JsonElement section = place.section().isEmpty() ? content : content.get(place.section());
        String format =
            section instanceof JsonObject object ? format(object.get(place.field())) : null;
        if (format != null) {
          throw new InvalidInputException(
              String.format(
                  "%s says that the weights are quantised%s (%s %s), which is not read. Read are F32,"
                      + " F16 and BF16, and what quantization_config in config.json describes as"
                      + " 'fp8' in blocks or 'mxfp4'; convert the checkpoint to BF16, or use the one"
                      + " that it was made of",
                  file, producer(content), place.field(), format));
        }
      }
    }
  }

  private static @Nullable String format(@Nullable JsonElement value) {
    if (value == null || value.isJsonNull()) {
      return null;
    }
    String text = value.isJsonPrimitive() ? value.getAsString() : Json.excerpt(value);
    return text.equals("NO_QUANT") ? null : text;
  }

  private static String producer(JsonObject content) {
    return content.get("producer") instanceof JsonObject producer
            && producer.get("name") instanceof JsonPrimitive name
        ? " by " + name.getAsString()
        : "";
  }
}
