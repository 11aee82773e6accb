package io.winnow.core.internal.family;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.form.PositionForm;
import io.winnow.core.internal.form.RotaryConfig;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collection;
import java.util.Map;
import java.util.TreeMap;

/** Configurations of families in other words than their goldens', and what is read of them. */
final class FamilyConfigs {
  private static final Path GOLDENS =
      Fixtures.golden("mixtral").getParent().resolveSibling("config");

  private FamilyConfigs() {}

  /** Returns what Transformers 5.17 reads; the generators' words are in the file. */
  static JsonObject reference(String name) {
    return parse(GOLDENS.resolve(name));
  }

  private static JsonObject parse(Path file) {
    try {
      return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Returns the configuration of a family's golden, without some fields. */
  static JsonObject golden(String family, Collection<String> without) {
    JsonObject json = parse(Fixtures.golden(family).resolve("config.json"));
    without.forEach(json::remove);
    return json;
  }

  /** Adds fields, in place of those of the same names. */
  static JsonObject with(JsonObject json, JsonObject more) {
    more.entrySet().forEach(field -> json.add(field.getKey(), field.getValue()));
    return json;
  }

  /** Reads a configuration; no weights are looked at. */
  static DecoderConfig read(JsonObject json, Path folder) {
    Checkpoint checkpoint = checkpoint(json, folder);
    return Families.of(checkpoint).read(checkpoint.config());
  }

  private static Checkpoint checkpoint(JsonObject json, Path folder) {
    try {
      Path weights = folder.resolve("model.safetensors");
      if (!Files.exists(weights)) {
        Files.copy(Fixtures.golden("mixtral").resolve("model.safetensors"), weights);
      }
      Files.writeString(folder.resolve("config.json"), json.toString());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return Checkpoint.open(folder);
  }

  /**
   * Describes all that a family reads of a configuration, its first layers and its routing, so that
   * two descriptions are equal where they compute the same.
   */
  static String describe(JsonObject json, Path folder) {
    Checkpoint checkpoint = checkpoint(json, folder);
    Family family = Families.of(checkpoint);
    try {
      CheckpointConfig decoder = family.decoder(checkpoint.config());
      DecoderConfig config = family.config().apply(decoder);
      StringBuilder text = new StringBuilder(config.toString().replaceAll("forms=[^,]*,", ""));
      for (int layer = 0; layer < Math.min(70, config.layers()); layer++) {
        text.append('\n').append(config.isSparse(layer)).append(' ');
        text.append(describe(config.mixer(layer)));
      }
      return text.append('\n')
          .append(describe(family.routing().create(decoder, config, null)))
          .toString();
    } catch (InvalidInputException e) {
      // Of numbers that do not fit each other; the file's name does not matter.
      return e.getMessage();
    }
  }

  private static String describe(Object value) {
    if (value instanceof float[] floats) {
      return Arrays.toString(floats);
    }
    if (value == null
        || value.getClass().getPackageName().startsWith("java.")
        || value instanceof Collection
        || value instanceof Enum) {
      return String.valueOf(value);
    }
    Map<String, String> fields = new TreeMap<>();
    for (Class<?> type = value.getClass(); type != Object.class; type = type.getSuperclass()) {
      for (Field field : type.getDeclaredFields()) {
        if (!Modifier.isStatic(field.getModifiers())) {
          field.setAccessible(true);
          try {
            fields.put(field.getName(), describe(field.get(value)));
          } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
          }
        }
      }
    }
    return value.getClass().getSimpleName() + fields;
  }

  /** Returns the rotation of a layer. */
  static RotaryConfig rotary(DecoderConfig config, int layer) {
    PositionForm positions = config.mixer(layer).positions();
    if (positions.rotary() == null) {
      throw new AssertionError("Layer " + layer + " knows no positions");
    }
    return positions.rotary();
  }

  static float[] floats(JsonElement array) {
    JsonArray numbers = array.getAsJsonArray();
    float[] floats = new float[numbers.size()];
    for (int i = 0; i < floats.length; i++) {
      floats[i] = numbers.get(i).getAsFloat();
    }
    return floats;
  }
}
