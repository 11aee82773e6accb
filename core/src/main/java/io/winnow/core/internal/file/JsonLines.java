package io.winnow.core.internal.file;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Path;
import java.util.function.Consumer;

/**
 * Files with one JSON object a line, or with one JSON list of objects, read strictly and one by
 * one. The files are as {@link TextInput} reads them.
 */
public final class JsonLines {
  /** What a line, or an object of a list, may have: parsing takes some ten times as much memory. */
  public static final int MAX_LINE_BYTES = 16 << 20;

  private JsonLines() {}

  /**
   * A line that holds an object, or a row of a list.
   *
   * @param file where it is from
   * @param unit "Line" or "Row"
   * @param number the line's number, from 1
   * @param json the object
   */
  public record Line(Path file, String unit, int number, JsonObject json) {
    /** Returns what begins a sentence about the line. */
    public String name() {
      return unit + " " + number + " of " + file;
    }
  }

  /**
   * Hands every object to {@code lines}, in file order, holding one line at a time; blank lines are
   * passed over.
   *
   * @param example what a line looks like, for messages
   * @throws InvalidInputException if a line is no UTF-8, no JSON, no object or longer than {@link
   *     #MAX_LINE_BYTES}, or the file cannot be read
   */
  public static void read(Path file, String example, Consumer<Line> lines) {
    try {
      if (JsonText.isList(file)) {
        JsonList.read(file, example, lines);
      } else {
        readLines(file, example, lines);
      }
    } catch (IOException e) {
      throw TextFiles.cannotRead(file, e);
    }
  }

  private static void readLines(Path file, String example, Consumer<Line> lines)
      throws IOException {
    try (LineReader reader = new LineReader(TextInput.open(file))) {
      int number = 1;
      for (byte[] line = reader.next(); line != null; line = reader.next()) {
        if (reader.isTooLong()) {
          throw tooLong("Line " + number + " of " + file);
        }
        String text = TextFiles.decode(line, file, " in line " + number);
        if (!text.isBlank()) {
          lines.accept(parse(text, example, file, number));
        }
        number++;
      }
    }
  }

  static InvalidInputException tooLong(String name) {
    return new InvalidInputException(
        name
            + " is longer than the "
            + MAX_LINE_BYTES
            + " bytes that are read of one. Split its text into several, or leave it out.");
  }

  private static Line parse(String text, String example, Path file, int number) {
    JsonElement element;
    try (JsonReader reader = JsonText.strict(new StringReader(text))) {
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
              + Json.firstLine(e)
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
    return new Line(file, "Line", number, object);
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
}
