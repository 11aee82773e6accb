package io.winnow.examples.report.result;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonFiles;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Reads the JSON files that commands write with {@code --report} and {@code --json}. */
public final class ReportFiles {
  private static final int VERSION = 1;

  private ReportFiles() {}

  /**
   * Reads a file.
   *
   * @param what names the kind of file in messages, with its article
   * @param cure the command that writes one
   * @param parser throws any of the exceptions by which gson says that an element is another one
   * @throws InvalidInputException if the file cannot be read, or is none of these
   */
  static <T> T read(Path file, String what, String cure, Function<JsonObject, T> parser) {
    JsonObject json = JsonFiles.read(file, what);
    try {
      JsonElement version = json.get("version");
      if (version != null && !version.equals(new JsonPrimitive(VERSION))) {
        throw new InvalidInputException(
            file
                + " says version "
                + version
                + "; "
                + what
                + " of version "
                + VERSION
                + " can be read: write it again with "
                + cure);
      }
      return parser.apply(json);
    } catch (JsonParseException
        | IllegalStateException
        | UnsupportedOperationException
        | NumberFormatException
        | ClassCastException e) {
      throw new InvalidInputException(
          file + " is not " + what + ": " + e.getMessage() + "; write one with " + cure, e);
    }
  }

  /** Returns a member. */
  static JsonElement member(JsonObject json, String name) {
    JsonElement element = json.get(name);
    if (element == null) {
      throw new JsonParseException("it has no '" + name + "'");
    }
    return element;
  }

  /** Returns a member that is an object. */
  static JsonObject object(JsonObject json, String name) {
    if (member(json, name) instanceof JsonObject object) {
      return object;
    }
    throw new JsonParseException("'" + name + "' is not an object");
  }

  /** Returns a member that is a list with something in it. */
  static JsonArray array(JsonObject json, String name) {
    if (member(json, name) instanceof JsonArray array && !array.isEmpty()) {
      return array;
    }
    throw new JsonParseException("'" + name + "' is not a list with something in it");
  }

  /** Returns a member that is a text, or null. */
  static @Nullable String text(JsonObject json, String name) {
    JsonElement element = json.get(name);
    return element == null || element.isJsonNull() ? null : element.getAsString();
  }

  /** Returns a member that is a whole number. */
  static int whole(JsonObject json, String name) {
    return whole(member(json, name), "'" + name + "'");
  }

  private static int whole(JsonElement element, String what) {
    try {
      return Integer.parseInt(element.getAsString()); // Which getAsInt does not: it cuts 0.5 to 0.
    } catch (NumberFormatException e) {
      throw new JsonParseException(what + " is " + element + ", not a whole number", e);
    }
  }

  /** Returns a number that is finite. */
  static double number(JsonElement element, String what) {
    double number = element.getAsDouble();
    if (!Double.isFinite(number)) {
      throw new JsonParseException(what + " is " + element);
    }
    return number;
  }

  /** Returns a member that is a list of experts or layers. */
  static List<Integer> numbers(JsonObject json, String name) {
    List<Integer> experts = new ArrayList<>();
    member(json, name)
        .getAsJsonArray()
        .forEach(element -> experts.add(whole(element, "a number in '" + name + "'")));
    return experts;
  }

  /** Checks that two lists are the experts 0 to n - 1. */
  static void requireAll(List<Integer> kept, List<Integer> dropped, int layer) {
    List<Integer> all = new ArrayList<>(kept);
    all.addAll(dropped);
    if (kept.isEmpty()
        || !all.stream()
            .sorted()
            .toList()
            .equals(IntStream.range(0, all.size()).boxed().toList())) {
      throw new JsonParseException(
          "layer " + layer + " keeps " + kept + " and drops " + dropped + ", not all experts once");
    }
  }

  /** Returns a file's name without the ending. */
  public static String label(Path file) {
    String name = String.valueOf(file.getFileName());
    int dot = name.lastIndexOf('.');
    return dot > 0 ? name.substring(0, dot) : name;
  }
}
