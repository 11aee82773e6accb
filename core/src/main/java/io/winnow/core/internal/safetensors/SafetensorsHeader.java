package io.winnow.core.internal.safetensors;

import com.google.common.collect.ImmutableMap;
import com.google.common.math.LongMath;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.Json;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The header of a safetensors file, checked in every respect before anything relies on it: the file
 * may come from anywhere.
 *
 * @param tensors by name, in order of offset
 * @param metadata free texts, by name
 */
record SafetensorsHeader(
    ImmutableMap<String, TensorInfo> tensors, ImmutableMap<String, String> metadata) {
  private static final int LENGTH_BYTES = Long.BYTES;
  private static final int MAX_DIMENSIONS = 64;
  private static final int MAX_SHOWN_CHARACTERS = 200;
  private static final String CURE = "Download the file again, or export it again as safetensors.";

  static SafetensorsHeader read(Path file, FileChannel channel) throws IOException {
    long fileSize = channel.size();
    ByteBuffer prefix = readAt(channel, 0, (int) Math.min(LENGTH_BYTES, fileSize));
    if (fileSize < LENGTH_BYTES) {
      throw damaged(
          file, "it has " + fileSize + " bytes, a header alone takes at least " + LENGTH_BYTES);
    }
    long length = prefix.order(ByteOrder.LITTLE_ENDIAN).getLong(0);
    if (StandardCharsets.US_ASCII.decode(prefix).toString().equals("version ")) {
      throw new InvalidInputException(
          file
              + " is only a pointer to a file in Git's large file storage. Fetch the content with"
              + " 'git lfs pull'.");
    }
    if (length < 0 || length > fileSize - LENGTH_BYTES) {
      throw damaged(
          file,
          "its header has the length "
              + length
              + ", but only "
              + (fileSize - LENGTH_BYTES)
              + " bytes follow: it is truncated, or no safetensors file");
    }
    if (length > Json.MAX_BYTES) {
      throw damaged(
          file,
          "its header has the length " + length + ", the format allows at most " + Json.MAX_BYTES);
    }
    byte[] text = readAt(channel, LENGTH_BYTES, (int) length).array();
    Parser parser = new Parser(file);
    try {
      parser.parse(text);
    } catch (IOException | IllegalStateException e) {
      throw new InvalidInputException(
          message(file, "its header is not valid JSON: " + Json.firstLine(e)), e);
    }
    return new SafetensorsHeader(
        layOut(file, parser.entries, LENGTH_BYTES + length, fileSize),
        ImmutableMap.copyOf(parser.metadata));
  }

  /** Bytes of a file; an exception if it ends before. */
  static ByteBuffer readAt(FileChannel channel, long offset, int length) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(length);
    while (buffer.hasRemaining()) {
      if (channel.read(buffer, offset + buffer.position()) < 0) {
        throw new IOException(
            "the file ends at " + channel.size() + "; it was changed while it was read");
      }
    }
    return buffer.flip();
  }

  /** Checks that the tensors fill the rest of the file, without holes and overlaps. */
  private static ImmutableMap<String, TensorInfo> layOut(
      Path file, List<Entry> entries, long dataStart, long fileSize) {
    entries.sort(
        Comparator.comparingLong(Entry::begin)
            .thenComparingLong(Entry::end)
            .thenComparing(Entry::name));
    ImmutableMap.Builder<String, TensorInfo> tensors = ImmutableMap.builder();
    long end = 0;
    String before = "another tensor";
    for (Entry entry : entries) {
      if (entry.begin < end) {
        throw damaged(
            file,
            entry
                + " starts at "
                + entry.begin
                + " and so overlaps "
                + before
                + ", which ends at "
                + end);
      }
      if (entry.begin > end) {
        throw damaged(
            file,
            entry + " starts at " + entry.begin + ", which leaves a hole from " + end + " on");
      }
      end = entry.end;
      before = entry.toString();
      tensors.put(
          entry.name,
          new TensorInfo(
              entry.name,
              entry.type,
              entry.shape,
              file,
              LongMath.saturatedAdd(dataStart, entry.begin),
              entry.end - entry.begin));
    }
    if (end > fileSize - dataStart) {
      throw damaged(
          file,
          "it is truncated: its header promises "
              + LongMath.saturatedAdd(dataStart, end)
              + " bytes, it has "
              + fileSize
              + (entries.isEmpty() ? "" : "; " + before + " is not complete"));
    }
    if (end < fileSize - dataStart) {
      throw damaged(
          file,
          "its header describes "
              + (dataStart + end)
              + " bytes, it has "
              + fileSize
              + ": bytes at its end belong to no tensor");
    }
    return tensors.buildOrThrow();
  }

  static InvalidInputException damaged(Path file, String what) {
    return new InvalidInputException(message(file, what));
  }

  private static String message(Path file, String what) {
    return file + " is not a usable safetensors file: " + what + ". " + CURE;
  }

  /** Bounded, because a name may be as long as a header. */
  private static String described(String name) {
    String shown =
        name.length() <= MAX_SHOWN_CHARACTERS
            ? name
            : name.substring(0, MAX_SHOWN_CHARACTERS) + "…";
    return "the tensor '" + shown + "'";
  }

  private record Entry(String name, TensorType type, List<Long> shape, long begin, long end) {
    @Override
    public String toString() {
      return described(name);
    }
  }

  /** Reads the header as a stream: a hostile header of 100 MB must not become a tree in memory. */
  private static final class Parser {
    private final Path file;
    private final List<Entry> entries = new ArrayList<>();
    private final TreeMap<String, String> metadata = new TreeMap<>();

    Parser(Path file) {
      this.file = file;
    }

    void parse(byte[] text) throws IOException {
      JsonReader reader = Json.reader(text);
      expect(reader, JsonToken.BEGIN_OBJECT, "its header");
      reader.beginObject();
      Set<String> names = new HashSet<>();
      while (reader.hasNext()) {
        String name = reader.nextName();
        if (!names.add(name)) {
          throw damaged(file, "its header has two entries for " + described(name));
        }
        if (name.equals(SafetensorsFile.METADATA)) {
          parseMetadata(reader);
        } else {
          entries.add(parseEntry(reader, name));
        }
      }
      reader.endObject();
      Json.expectEnd(reader);
    }

    private void parseMetadata(JsonReader reader) throws IOException {
      if (reader.peek() == JsonToken.NULL) {
        reader.nextNull(); // The format's own reader takes it for absent.
        return;
      }
      expect(reader, JsonToken.BEGIN_OBJECT, SafetensorsFile.METADATA);
      reader.beginObject();
      while (reader.hasNext()) {
        String name = reader.nextName();
        String what = SafetensorsFile.METADATA + "'s '" + name + "'";
        expect(reader, JsonToken.STRING, what);
        if (metadata.put(name, reader.nextString()) != null) {
          throw damaged(file, what + " occurs twice");
        }
      }
      reader.endObject();
    }

    private Entry parseEntry(JsonReader reader, String name) throws IOException {
      String what = described(name);
      expect(reader, JsonToken.BEGIN_OBJECT, what);
      TensorType type = null;
      List<Long> shape = null;
      List<Long> offsets = null;
      Set<String> fields = new HashSet<>();
      reader.beginObject();
      while (reader.hasNext()) {
        String field = reader.nextName();
        if (!fields.add(field)) {
          throw damaged(file, what + " has '" + field + "' twice");
        }
        switch (field) {
          case "dtype" -> {
            expect(reader, JsonToken.STRING, what + "'s dtype");
            type = parseType(reader.nextString(), what);
          }
          case "shape" -> shape = parseNumbers(reader, what + "'s shape");
          case "data_offsets" -> offsets = parseNumbers(reader, what + "'s data_offsets");
          default -> reader.skipValue(); // room for what the format may add
        }
      }
      reader.endObject();
      return checked(
          name,
          present(type, what, "dtype"),
          present(shape, what, "shape"),
          present(offsets, what, "data_offsets"));
    }

    private Entry checked(String name, TensorType type, List<Long> shape, List<Long> offsets) {
      String what = described(name);
      if (offsets.size() != 2 || offsets.get(0) > offsets.get(1)) {
        throw damaged(
            file, what + " has the data_offsets " + offsets + ", expected [begin, end] in order");
      }
      long length = offsets.get(1) - offsets.get(0);
      long expected;
      try {
        expected = type.bytesOf(shape);
      } catch (ArithmeticException e) {
        throw new InvalidInputException(
            message(
                file,
                what + " of type " + type + " has the shape " + shape + ": " + e.getMessage()),
            e);
      }
      if (length != expected) {
        throw damaged(
            file,
            what
                + " of type "
                + type
                + " and shape "
                + shape
                + " takes "
                + expected
                + " bytes, but its data_offsets "
                + offsets
                + " span "
                + length);
      }
      return new Entry(name, type, shape, offsets.get(0), offsets.get(1));
    }

    private TensorType parseType(String type, String what) {
      try {
        return TensorType.named(type);
      } catch (InvalidInputException e) {
        throw new InvalidInputException(
            file + ": " + what + ": " + e.getMessage() + ". Convert it to one of these.", e);
      }
    }

    private List<Long> parseNumbers(JsonReader reader, String what) throws IOException {
      expect(reader, JsonToken.BEGIN_ARRAY, what);
      List<Long> numbers = new ArrayList<>();
      reader.beginArray();
      while (reader.hasNext()) {
        expect(reader, JsonToken.NUMBER, what + "[" + numbers.size() + "]");
        String text = reader.nextString();
        long number;
        try {
          number = Long.parseLong(text);
        } catch (NumberFormatException e) {
          throw new InvalidInputException(
              message(file, what + " has " + text + ", which is no whole number of 64 bits"), e);
        }
        if (number < 0) {
          throw damaged(file, what + " has " + number + ", which is negative");
        }
        numbers.add(number);
        if (numbers.size() > MAX_DIMENSIONS) {
          throw damaged(file, what + " has more than " + MAX_DIMENSIONS + " numbers");
        }
      }
      reader.endArray();
      return numbers;
    }

    private <T> T present(@Nullable T value, String what, String field) {
      if (value == null) {
        throw damaged(file, what + " lacks its " + field);
      }
      return value;
    }

    private void expect(JsonReader reader, JsonToken expected, String what) throws IOException {
      JsonToken actual = reader.peek();
      if (actual != expected) {
        throw damaged(file, what + " is " + inWords(actual) + ", expected " + inWords(expected));
      }
    }

    private static String inWords(JsonToken token) {
      return switch (token) {
        case BEGIN_OBJECT -> "an object";
        case BEGIN_ARRAY -> "an array";
        case STRING -> "a text";
        case NUMBER -> "a number";
        case BOOLEAN -> "a truth value";
        case NULL -> "null";
        default -> "incomplete";
      };
    }
  }
}
