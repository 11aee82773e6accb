package io.winnow.core.internal.file;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.gson.Strictness;
import com.google.gson.ToNumberPolicy;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import io.winnow.core.InvalidInputException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.TreeMap;

/** Strict JSON: no lenient syntax, no duplicate names, bounded depth. */
public final class Json {
  /** The largest JSON text we read: safetensors' own bound for a header. */
  public static final int MAX_BYTES = 100_000_000;

  private static final int MAX_DEPTH = 100;

  private static final Gson COMPACT =
      new GsonBuilder()
          .serializeNulls()
          .disableHtmlEscaping()
          .setStrictness(Strictness.STRICT)
          .create();
  private static final Gson PRETTY = COMPACT.newBuilder().setPrettyPrinting().create();

  private Json() {}

  /** A strict reader of UTF-8 text; malformed UTF-8 is an {@link IOException}. */
  public static JsonReader reader(byte[] text) {
    JsonReader reader =
        new JsonReader(
            new InputStreamReader(
                new ByteArrayInputStream(text),
                StandardCharsets.UTF_8
                    .newDecoder()
                    .onMalformedInput(CodingErrorAction.REPORT)
                    .onUnmappableCharacter(CodingErrorAction.REPORT)));
    reader.setStrictness(Strictness.STRICT);
    reader.setNestingLimit(MAX_DEPTH);
    return reader;
  }

  /** The object in a file, or an exception that names the file and what is wrong with it. */
  public static JsonObject readObject(Path file) {
    byte[] text;
    try {
      long size = Files.size(file);
      if (size > MAX_BYTES) {
        throw new InvalidInputException(
            file + " has " + size + " bytes, more than the " + MAX_BYTES + " that are read");
      }
      text = Files.readAllBytes(file);
    } catch (IOException e) {
      throw FileErrors.translate("read", file, e);
    }
    JsonElement element;
    try {
      element = parse(text);
    } catch (DuplicateNameException | IOException | IllegalStateException e) {
      throw new InvalidInputException(
          file + " is not valid JSON (" + firstLine(e) + "); correct it or download the file again",
          e);
    }
    if (!element.isJsonObject()) {
      throw new InvalidInputException(
          file + " holds no JSON object but " + excerpt(element) + "; download the file again");
    }
    return element.getAsJsonObject();
  }

  /** Reads a whole text, and fails with one of three exceptions if it is not strict JSON. */
  static JsonElement parse(byte[] text) throws IOException {
    JsonReader reader = reader(text);
    JsonElement element = read(reader);
    expectEnd(reader);
    return element;
  }

  /** Fails if anything but blanks follows. */
  public static void expectEnd(JsonReader reader) throws IOException {
    JsonToken token = reader.peek();
    if (token != JsonToken.END_DOCUMENT) {
      throw new IllegalStateException(token + " follows its end");
    }
  }

  private static JsonElement read(JsonReader reader) throws IOException {
    JsonToken token = reader.peek();
    switch (token) {
      case BEGIN_OBJECT:
        JsonObject object = new JsonObject();
        reader.beginObject();
        while (reader.hasNext()) {
          String name = reader.nextName();
          if (object.has(name)) {
            throw new DuplicateNameException(name);
          }
          object.add(name, read(reader));
        }
        reader.endObject();
        return object;
      case BEGIN_ARRAY:
        JsonArray array = new JsonArray();
        reader.beginArray();
        while (reader.hasNext()) {
          array.add(read(reader));
        }
        reader.endArray();
        return array;
      case STRING:
        return new JsonPrimitive(reader.nextString());
      case NUMBER:
        // Kept as text, so that 1e-05 is still 1e-05 when it is written again.
        return new JsonPrimitive(ToNumberPolicy.LAZILY_PARSED_NUMBER.readNumber(reader));
      case BOOLEAN:
        return new JsonPrimitive(reader.nextBoolean());
      case NULL:
        reader.nextNull();
        return JsonNull.INSTANCE;
      default:
        throw new IllegalStateException("unexpected " + token);
    }
  }

  /**
   * The text of a JSON file: indented by two blanks, ends with a line feed.
   *
   * @throws InvalidInputException if a number is not finite
   */
  public static String pretty(JsonElement element) {
    return write(PRETTY, element) + "\n";
  }

  /** The text without blanks. */
  public static String compact(JsonElement element) {
    return write(COMPACT, element);
  }

  private static String write(Gson gson, JsonElement element) {
    try {
      return gson.toJson(element);
    } catch (IllegalArgumentException e) {
      throw new InvalidInputException("Not writable as JSON: " + e.getMessage(), e);
    }
  }

  /** The same content with the names of every object in order. */
  public static JsonElement sorted(JsonElement element) {
    if (element.isJsonArray()) {
      JsonArray result = new JsonArray();
      element.getAsJsonArray().forEach(item -> result.add(sorted(item)));
      return result;
    }
    if (element.isJsonObject()) {
      JsonObject result = new JsonObject();
      new TreeMap<>(element.getAsJsonObject().asMap())
          .forEach((name, value) -> result.add(name, sorted(value)));
      return result;
    }
    return element;
  }

  /** A value as it appears in a message. */
  public static String excerpt(JsonElement element) {
    String text = compact(element);
    return text.length() <= 60 ? text : text.substring(0, 60) + "…";
  }

  /** Gson adds a line with a link to its troubleshooting guide, which does not help here. */
  public static String firstLine(Exception exception) {
    String message = exception.getMessage();
    return message == null
        ? exception.getClass().getSimpleName()
        : message.lines().findFirst().orElse("");
  }

  /** Two members of one object with the same name. */
  static final class DuplicateNameException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    DuplicateNameException(String name) {
      super("the name '" + name + "' occurs twice");
    }
  }
}
