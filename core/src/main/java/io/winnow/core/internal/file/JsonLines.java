package io.winnow.core.internal.file;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import io.winnow.core.InvalidInputException;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Consumer;

/** Files with one JSON object a line, read strictly and line by line. Not part of the API. */
public final class JsonLines {
  private JsonLines() {}

  /**
   * A line that holds an object.
   *
   * @param file where it is from
   * @param number the line's number, from 1
   * @param json the object
   */
  public record Line(Path file, int number, JsonObject json) {
    /** Returns what begins a sentence about the line. */
    public String name() {
      return "Line " + number + " of " + file;
    }
  }

  /**
   * Hands every object to {@code lines}, in file order, holding one line at a time; blank lines are
   * passed over.
   *
   * @param example what a line looks like, for messages
   * @throws InvalidInputException if a line is no UTF-8, no JSON or no object, or the file cannot
   *     be read
   */
  public static void read(Path file, String example, Consumer<Line> lines) {
    try (InputStream in = new BufferedInputStream(Files.newInputStream(file), 1 << 16)) {
      ByteArrayOutputStream line = new ByteArrayOutputStream();
      int number = 1;
      int next;
      do {
        next = in.read();
        if (next == '\n' || next < 0) {
          String text = TextFiles.decode(line.toByteArray(), file, " in line " + number);
          if (!text.isBlank()) {
            lines.accept(parse(text, example, file, number));
          }
          line.reset();
          number++;
        } else {
          line.write(next);
        }
      } while (next >= 0);
    } catch (IOException e) {
      throw TextFiles.cannotRead(file, e);
    }
  }

  private static Line parse(String text, String example, Path file, int number) {
    JsonElement element;
    try (JsonReader reader = new JsonReader(new StringReader(text))) {
      reader.setStrictness(Strictness.STRICT);
      element = JsonParser.parseReader(reader);
      if (reader.peek() != JsonToken.END_DOCUMENT) {
        throw new JsonParseException("there is more after the object's end");
      }
    } catch (IOException | JsonParseException e) {
      throw new InvalidInputException(
          "Line "
              + number
              + " of "
              + file
              + " is not valid JSON: "
              + firstLine(e)
              + ". A .jsonl file has one JSON object a line.",
          e);
    }
    if (!(element instanceof JsonObject object)) {
      throw new InvalidInputException(
          "Line "
              + number
              + " of "
              + file
              + " is not a JSON object but "
              + kindOf(element)
              + "; a line looks like "
              + example
              + ".");
    }
    return new Line(file, number, object);
  }

  /** Returns what an element is, in words. */
  public static String kindOf(JsonElement element) {
    if (element.isJsonArray()) {
      return "an array";
    }
    if (element.isJsonObject()) {
      return "an object";
    }
    if (element.isJsonNull()) {
      return "null";
    }
    return element.getAsJsonPrimitive().isString() ? "a string" : element.toString();
  }

  private static String firstLine(Exception e) {
    // Gson adds a line that points to its own documentation.
    return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
  }
}
