package io.winnow.core.internal.file;

import com.google.common.collect.Sets;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.UUID;

/** Small JSON files: plans, policies, reports, settings. Public for Winnow's own modules. */
public final class JsonFiles {
  private static final Gson GSON =
      new GsonBuilder().setPrettyPrinting().serializeNulls().disableHtmlEscaping().create();

  private JsonFiles() {}

  /**
   * Reads strict JSON: no lenient syntax, and no name twice in one object.
   *
   * @throws InvalidInputException if the file cannot be read or holds no such object
   */
  public static JsonObject read(Path file, String what) {
    byte[] text;
    try {
      text = Files.readAllBytes(file);
    } catch (IOException e) {
      throw new InvalidInputException("Cannot read " + what + " from " + file + ": " + e, e);
    }
    try {
      if (Json.parse(text) instanceof JsonObject object) {
        return object;
      }
    } catch (IOException | IllegalStateException | Json.DuplicateNameException e) {
      throw new InvalidInputException(file + " is not " + what + ": " + Json.firstLine(e), e);
    }
    throw new InvalidInputException(file + " is not " + what + ": it is no JSON object");
  }

  /** Returns, in words, where an object that was stored differs from another. */
  public static List<String> differences(JsonObject there, JsonObject here) {
    List<String> differences = new ArrayList<>();
    for (String name : Sets.union(new TreeSet<>(there.keySet()), new TreeSet<>(here.keySet()))) {
      String stored = String.valueOf(there.get(name));
      String current = String.valueOf(here.get(name));
      if (!stored.equals(current)) {
        differences.add(name + " is " + stored + " there and " + current + " here");
      }
    }
    return differences;
  }

  /**
   * Writes beside the file and renames, so that no reader sees half of it.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public static void write(Path file, JsonElement json) throws IOException {
    Path absolute = file.toAbsolutePath();
    Path parent = absolute.getParent();
    if (parent == null || Files.isDirectory(absolute)) {
      throw new IOException(file + " is not the name of a file");
    }
    // Not createTempFile: its file is private to the owner, and would stay so.
    Path temporary = parent.resolve("." + absolute.getFileName() + ".partial-" + UUID.randomUUID());
    try {
      // On disk before it takes the name, which a power failure must not give to an empty file.
      Files.writeString(
          temporary,
          GSON.toJson(json) + "\n",
          StandardOpenOption.CREATE_NEW,
          StandardOpenOption.WRITE,
          StandardOpenOption.SYNC);
      Files.move(temporary, absolute, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(temporary);
    }
  }
}
