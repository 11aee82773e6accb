package io.winnow.core.internal.file;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import io.winnow.core.InvalidInputException;
import java.io.FilterReader;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Path;
import java.util.function.Consumer;

/** Files with one JSON list of objects, of which one is in memory at a time. */
final class JsonList {
  private JsonList() {}

  /** Hands every object of the list to {@code rows}, in order; otherwise as JsonLines.read. */
  static void read(Path file, String example, Consumer<JsonLines.Line> rows) {
    int number = 1;
    try (Bounded text = new Bounded(file, JsonText.reader(file));
        JsonReader reader = JsonText.strict(text)) {
      reader.beginArray();
      while (reader.hasNext()) {
        text.begin(number);
        JsonElement row = JsonParser.parseReader(reader);
        if (!(row instanceof JsonObject object)) {
          throw new InvalidInputException(
              text.row()
                  + " is not a JSON object but "
                  + JsonLines.kindOf(row)
                  + "; a row looks like "
                  + example
                  + ".");
        }
        rows.accept(new JsonLines.Line(file, "Row", number, object));
        number++;
      }
      reader.endArray();
      if (reader.peek() != JsonToken.END_DOCUMENT) {
        throw new JsonParseException("there is more after the list's end");
      }
    } catch (IOException | JsonParseException | IllegalStateException e) {
      IOException failure = JsonText.failure(e);
      if (failure != null) {
        throw TextFiles.cannotRead(file, failure);
      }
      throw new InvalidInputException(
          "Row "
              + number
              + " of "
              + file
              + " is not valid JSON: "
              + Json.firstLine(e)
              + ". Correct it, or write one JSON object a line.",
          e);
    }
  }

  /** Counts what is read of a row, so that none fills the memory. */
  private static final class Bounded extends FilterReader {
    private final Path file;
    private int number;
    private long characters;

    Bounded(Path file, Reader in) {
      super(in);
      this.file = file;
    }

    void begin(int newNumber) {
      number = newNumber;
      characters = 0;
    }

    String row() {
      return "Row " + number + " of " + file;
    }

    @Override
    public int read(char[] target, int offset, int length) throws IOException {
      if (characters > JsonLines.MAX_LINE_BYTES) {
        throw JsonLines.tooLong(row());
      }
      int count = super.read(target, offset, length);
      characters += Math.max(0, count);
      return count;
    }
  }
}
