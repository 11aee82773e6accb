package io.winnow.core.internal.file;

import com.google.gson.JsonParseException;
import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.MalformedJsonException;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.StringReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Tells JSON from prose by what a text file holds; its name counts only where that fails. */
public final class JsonText {
  /** What a file holds. */
  public enum Kind {
    /**
     * One object a line, or one list of objects; or a name that promises it, and something else.
     */
    ROWS,
    /** JSON that is neither. */
    OTHER,
    /** Anything else. */
    PROSE
  }

  private JsonText() {}

  /**
   * Looks into a file, into all of it only where it begins like JSON over several lines.
   *
   * @throws io.winnow.core.InvalidInputException if it cannot be read, or is in a format that is
   *     not
   */
  public static Kind of(Path file) {
    if (isNamed(file, ".jsonl") || isNamed(file, ".ndjson")) {
      return Kind.ROWS;
    }
    Kind byName = isNamed(file, ".json") ? Kind.ROWS : Kind.PROSE;
    try {
      switch (beginning(file)) {
        case "{":
          if (hasObjectInFirstLine(file)) {
            return Kind.ROWS;
          }
          return isValue(file) ? Kind.OTHER : byName;
        case "[{":
          return byName == Kind.ROWS || isValue(file) ? Kind.ROWS : byName;
        case "[":
          return isValue(file) ? Kind.OTHER : byName;
        default:
          return byName;
      }
    } catch (IOException e) {
      throw TextFiles.cannotRead(file, e);
    }
  }

  /** Whether a file holds a list of objects, by how it begins. */
  static boolean isList(Path file) throws IOException {
    return beginning(file).equals("[{");
  }

  private static boolean isNamed(Path file, String ending) {
    String name = String.valueOf(file.getFileName()).toLowerCase(Locale.ROOT);
    return name.endsWith(ending) || name.endsWith(ending + ".gz");
  }

  /** Returns the bracket or brackets that a file begins with, of those that begin JSON. */
  private static String beginning(Path file) throws IOException {
    try (InputStream in = TextInput.open(file)) {
      int first = nextVisible(in);
      if (first == '{') {
        return "{";
      }
      if (first != '[') {
        return "";
      }
      return nextVisible(in) == '{' ? "[{" : "[";
    }
  }

  private static int nextVisible(InputStream in) throws IOException {
    int next;
    do {
      next = in.read();
    } while (next == ' ' || next == '\t' || next == '\r' || next == '\n');
    return next;
  }

  /** Whether it does, or is too long to say: what reads lines refuses it then. */
  private static boolean hasObjectInFirstLine(Path file) throws IOException {
    try (LineReader lines = new LineReader(TextInput.open(file))) {
      byte[] line;
      do {
        line = lines.next();
      } while (line != null && !lines.isTooLong() && isBlank(line));
      if (line == null || lines.isTooLong()) {
        return lines.isTooLong();
      }
      JsonReader reader = strict(new StringReader(new String(line, StandardCharsets.UTF_8)));
      reader.skipValue();
      return reader.peek() == JsonToken.END_DOCUMENT;
    } catch (IOException | IllegalStateException e) {
      return rejected(e);
    }
  }

  /** Returns false where it is the text that is no JSON, and throws what else it is. */
  private static boolean rejected(Exception e) throws IOException {
    IOException failure = failure(e);
    if (failure != null) {
      throw failure;
    }
    return false;
  }

  private static boolean isBlank(byte[] line) {
    for (byte one : line) {
      if (one != ' ' && one != '\t' && one != '\r') {
        return false;
      }
    }
    return true;
  }

  /** Whether a file is one JSON value, or begins with one which another follows. */
  private static boolean isValue(Path file) throws IOException {
    try (JsonReader reader = strict(reader(file))) {
      reader.skipValue();
      // Strict readers know one value only.
      reader.setStrictness(Strictness.LENIENT);
      JsonToken next = reader.peek();
      return next == JsonToken.END_DOCUMENT || next == JsonToken.BEGIN_OBJECT;
    } catch (IOException | IllegalStateException e) {
      return rejected(e);
    }
  }

  /** Returns why a file could not be read, or null where its text is wrong. */
  static @Nullable IOException failure(Exception e) {
    if (e instanceof JsonParseException && e.getCause() instanceof IOException cause) {
      return failure(cause);
    }
    boolean syntax =
        e instanceof MalformedJsonException
            || e instanceof CharacterCodingException
            || e instanceof EOFException eof && !TextFiles.isTruncation(eof);
    return e instanceof IOException failure && !syntax ? failure : null;
  }

  /** Opens a file's text, of which malformed UTF-8 is an exception. */
  static Reader reader(Path file) throws IOException {
    return new InputStreamReader(
        TextInput.open(file),
        StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT));
  }

  static JsonReader strict(Reader text) {
    JsonReader reader = new JsonReader(text);
    reader.setStrictness(Strictness.STRICT);
    return reader;
  }
}
