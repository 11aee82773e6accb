package io.winnow.pruning;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/** JSON files of this module. */
final class Json {
  private static final Gson GSON =
      new GsonBuilder().setPrettyPrinting().serializeNulls().disableHtmlEscaping().create();

  private Json() {}

  static JsonObject read(Path file, String what) {
    try {
      JsonElement element = JsonParser.parseString(Files.readString(file));
      if (element instanceof JsonObject object) {
        return object;
      }
      throw new InvalidInputException(file + " is not " + what + ": it is no JSON object");
    } catch (JsonParseException e) {
      throw new InvalidInputException(file + " is not " + what + ": " + e.getMessage(), e);
    } catch (IOException e) {
      throw new InvalidInputException("Cannot read " + what + " from " + file + ": " + e, e);
    }
  }

  /** Writes beside the file and renames, so that no reader sees half of it. */
  static void write(Path file, JsonElement json) throws IOException {
    Path absolute = file.toAbsolutePath();
    Path parent = absolute.getParent();
    if (parent == null) {
      throw new IOException(file + " is not the name of a file");
    }
    // Not createTempFile: its file is private to the owner, and would stay so.
    Path temporary = parent.resolve("." + absolute.getFileName() + ".partial-" + UUID.randomUUID());
    try {
      Files.writeString(temporary, GSON.toJson(json) + "\n");
      Files.move(temporary, absolute, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(temporary);
    }
  }

  static JsonArray array(List<Integer> numbers) {
    JsonArray array = new JsonArray();
    numbers.forEach(array::add);
    return array;
  }

  static @Nullable String stringOrNull(JsonObject json, String name) {
    JsonElement element = json.get(name);
    return element == null || element.isJsonNull() ? null : element.getAsString();
  }
}
