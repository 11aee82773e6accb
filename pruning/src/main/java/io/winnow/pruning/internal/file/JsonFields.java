package io.winnow.pruning.internal.file;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import java.time.Duration;
import java.util.List;
import java.util.OptionalDouble;
import org.jspecify.annotations.Nullable;

/** Elements of the JSON files of pruning. */
public final class JsonFields {
  private JsonFields() {}

  /** Returns whole numbers as a list. */
  public static JsonArray array(List<Integer> numbers) {
    JsonArray array = new JsonArray();
    numbers.forEach(array::add);
    return array;
  }

  /** Returns a fitness or another number, null where it is not finite. */
  public static JsonElement finite(double value) {
    return Double.isFinite(value) ? new JsonPrimitive(value) : JsonNull.INSTANCE;
  }

  /** Returns a duration in seconds. */
  public static double seconds(Duration time) {
    return time.toMillis() / 1000.0;
  }

  /**
   * Returns a text, or null where there is none.
   *
   * @throws JsonParseException if it is something else
   */
  public static @Nullable String stringOrNull(JsonObject json, String name) {
    JsonElement element = json.get(name);
    if (element == null || element.isJsonNull()) {
      return null;
    }
    if (element instanceof JsonPrimitive primitive && primitive.isString()) {
      return primitive.getAsString();
    }
    throw new JsonParseException("'" + name + "' is " + element + ", not a text");
  }

  /**
   * Returns a list of whole numbers.
   *
   * @throws JsonParseException if it is anything else
   */
  public static List<Integer> integers(JsonObject json, String name) {
    if (!(json.get(name) instanceof JsonArray array)) {
      throw new JsonParseException("'" + name + "' is " + json.get(name) + ", not a list");
    }
    return array.asList().stream().map(e -> (int) wholeNumber(e, "'" + name + "'")).toList();
  }

  /**
   * Returns a number, or empty for null.
   *
   * @throws JsonParseException if it is anything else
   */
  public static OptionalDouble optDouble(JsonObject json, String name) {
    JsonElement element = json.get(name);
    if (element == null || element.isJsonNull()) {
      return OptionalDouble.empty();
    }
    if (element instanceof JsonPrimitive primitive && primitive.isNumber()) {
      return OptionalDouble.of(primitive.getAsDouble());
    }
    throw new JsonParseException("'" + name + "' is " + element + ", not a number");
  }

  /**
   * Returns a whole number.
   *
   * @param what names it in messages
   * @throws JsonParseException if it is anything else
   */
  public static long wholeNumber(@Nullable JsonElement element, String what) {
    if (element instanceof JsonPrimitive primitive && primitive.isNumber()) {
      try {
        return Long.parseLong(primitive.getAsString());
      } catch (NumberFormatException e) {
        throw new JsonParseException(what + " is " + element + ", not a whole number", e);
      }
    }
    throw new JsonParseException(what + " is " + element + ", not a whole number");
  }
}
