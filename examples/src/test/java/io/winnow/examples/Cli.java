package io.winnow.examples;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

/** Runs commands in this process, and what else the tests of commands share. */
final class Cli {
  static final String MODEL = Fixtures.TINY_MIXTRAL.toString();

  private Cli() {}

  /** What a command has left. */
  record Result(int code, String out, String err) {
    /** The lines of standard error that say what is wrong. */
    List<String> complaints() {
      return err.lines().filter(line -> line.startsWith("winnow: ")).toList();
    }
  }

  static Result run(Object... args) {
    PrintStream out = System.out;
    PrintStream err = System.err;
    ByteArrayOutputStream newOut = new ByteArrayOutputStream();
    ByteArrayOutputStream newErr = new ByteArrayOutputStream();
    System.setOut(new PrintStream(newOut, true, StandardCharsets.UTF_8));
    System.setErr(new PrintStream(newErr, true, StandardCharsets.UTF_8));
    try {
      int code = Winnow.run(Arrays.stream(args).map(Object::toString).toArray(String[]::new));
      return new Result(
          code, newOut.toString(StandardCharsets.UTF_8), newErr.toString(StandardCharsets.UTF_8));
    } finally {
      System.setOut(out);
      System.setErr(err);
    }
  }

  /** Runs a command that must succeed. */
  static Result succeed(Object... args) {
    Result result = run(args);
    if (result.code() != 0) {
      throw new AssertionError("exit code " + result.code() + ": " + result.err());
    }
    return result;
  }

  static JsonObject json(Path file) {
    try {
      return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Writes token ids as the tensor 'input_ids'. */
  static Path writeIds(Path file, TokenSequences sequences) {
    long[] ids = sequences.flatten(0, sequences.count());
    ByteBuffer data = ByteBuffer.allocate(8 * ids.length).order(ByteOrder.LITTLE_ENDIAN);
    data.asLongBuffer().put(ids);
    return safetensors(
        file,
        String.format(
            "{\"input_ids\":{\"dtype\":\"I64\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]}}",
            sequences.count(), sequences.length(), data.capacity()),
        data.array());
  }

  static Path safetensors(Path file, String header, byte[] data) {
    byte[] text = (header + " ".repeat(-header.length() & 7)).getBytes(StandardCharsets.UTF_8);
    ByteBuffer content =
        ByteBuffer.allocate(8 + text.length + data.length)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(text.length)
            .put(text)
            .put(data);
    try {
      return Files.write(file, content.array());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Copies the files of the small model, without subfolders. */
  static Path copyModel(Path target) {
    try (Stream<Path> files = Files.list(Fixtures.TINY_MIXTRAL)) {
      Files.createDirectories(target);
      for (Path file : files.toList()) {
        Files.copy(file, target.resolve(file.getFileName()));
      }
      return target;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The names of all files and folders below a folder, in order. */
  static List<String> below(Path folder) {
    try (Stream<Path> paths = Files.walk(folder)) {
      return paths.map(path -> folder.relativize(path).toString()).sorted().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static float[] floats(Path file, String tensor) {
    return SafetensorsFile.open(file).readFloats(tensor);
  }
}
