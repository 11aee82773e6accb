package io.winnow.pruning;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Elements of the JSON files of this package. */
final class Json {
  private Json() {}

  static JsonArray array(List<Integer> numbers) {
    JsonArray array = new JsonArray();
    numbers.forEach(array::add);
    return array;
  }

  /**
   * Returns a text, or null where there is none.
   *
   * @throws JsonParseException if it is something else
   */
  static @Nullable String stringOrNull(JsonObject json, String name) {
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
   * Returns a whole number.
   *
   * @param what names it in messages
   * @throws JsonParseException if it is anything else
   */
  static long wholeNumber(@Nullable JsonElement element, String what) {
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
