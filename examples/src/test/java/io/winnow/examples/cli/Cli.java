package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

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
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.stream.Stream;

/** Runs commands in this process, and what else the tests of commands share. */
public final class Cli {
  public static final String MODEL = Fixtures.TINY_MIXTRAL.toString();

  private Cli() {}

  /** What a command has left. */
  public record Result(int code, String out, String err) {
    /** The lines of standard error that say what is wrong. */
    public List<String> complaints() {
      return err.lines().filter(line -> line.startsWith("winnow: ")).toList();
    }
  }

  /**
   * Returns the words of a command.
   *
   * @param command words with a blank between; MODEL stands for the small model, and {} for the
   *     next of the values
   * @param values paths, numbers and texts; those that are left over follow as further words
   */
  public static List<Object> words(String command, Object... values) {
    Deque<Object> left = new ArrayDeque<>(List.of(values));
    List<Object> words = new ArrayList<>();
    for (String word : command.strip().split(" +")) {
      words.add(word.equals("{}") ? left.remove() : word.equals("MODEL") ? MODEL : word);
    }
    words.addAll(left);
    return words;
  }

  /** Returns words, and further ones behind them. */
  public static List<Object> join(List<?> words, Object... more) {
    List<Object> all = new ArrayList<>(words);
    all.addAll(List.of(more));
    return all;
  }

  /** Runs a command of such {@link #words}. */
  public static Result run(String command, Object... values) {
    return run(words(command, values));
  }

  /** Runs a command. */
  public static Result run(List<?> words) {
    PrintStream out = System.out;
    PrintStream err = System.err;
    ByteArrayOutputStream newOut = new ByteArrayOutputStream();
    ByteArrayOutputStream newErr = new ByteArrayOutputStream();
    System.setOut(new PrintStream(newOut, true, StandardCharsets.UTF_8));
    System.setErr(new PrintStream(newErr, true, StandardCharsets.UTF_8));
    try {
      int code = Winnow.run(words.stream().map(Object::toString).toArray(String[]::new));
      return new Result(
          code, newOut.toString(StandardCharsets.UTF_8), newErr.toString(StandardCharsets.UTF_8));
    } finally {
      System.setOut(out);
      System.setErr(err);
    }
  }

  /** Runs a command of such {@link #words} that must succeed. */
  public static Result succeed(String command, Object... values) {
    return succeed(words(command, values));
  }

  /** Runs a command that must succeed. */
  public static Result succeed(List<?> words) {
    Result result = run(words);
    if (result.code() != 0) {
      throw new AssertionError("exit code " + result.code() + ": " + result.err());
    }
    return result;
  }

  /** Checks that a command has refused its input with one line, which says this. */
  public static void assertRefused(Result result, String... messages) {
    assertThat(result.code()).as(result.err()).isEqualTo(Winnow.BAD_INPUT);
    assertThat(result.complaints()).as(result.err()).singleElement().asString().contains(messages);
    assertThat(result.err()).doesNotContain("\tat ", "A defect");
    assertThat(result.out()).isEmpty();
  }

  public static JsonObject json(Path file) {
    try {
      return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Writes token ids as the tensor 'input_ids'. */
  public static Path writeIds(Path file, TokenSequences sequences) {
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

  public static Path safetensors(Path file, String header, byte[] data) {
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
  public static Path copyModel(Path target) {
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
  public static List<String> below(Path folder) {
    try (Stream<Path> paths = Files.walk(folder)) {
      return paths.map(path -> folder.relativize(path).toString()).sorted().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public static float[] floats(Path file, String tensor) {
    return SafetensorsFile.open(file).readFloats(tensor);
  }
}
