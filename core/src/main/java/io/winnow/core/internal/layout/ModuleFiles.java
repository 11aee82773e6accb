package io.winnow.core.internal.layout;

import com.google.common.io.MoreFiles;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.file.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/** The files beside a checkpoint's weights in which quantisers name modules. */
final class ModuleFiles {
  private static final long MAX_BYTES = 64 << 20;

  private ModuleFiles() {}

  /**
   * Returns the JSON files of a folder that name experts which have other numbers now, by their
   * names, with the new ones.
   */
  static Map<String, String> renamed(Path folder, ModuleNames names) {
    Map<String, String> changed = new TreeMap<>();
    try (Stream<Path> entries = Files.list(folder)) {
      for (Path file : (Iterable<Path>) entries::iterator) {
        String name = String.valueOf(file.getFileName());
        if (!isCandidate(file, name)) {
          continue;
        }
        JsonObject json;
        try {
          json = Json.readObject(file);
        } catch (InvalidInputException e) {
          continue; // Whatever it is, it is copied as it is.
        }
        JsonObject renamed = names.renamed(json).getAsJsonObject();
        if (!renamed.equals(json)) {
          changed.put(name, Json.pretty(renamed));
        }
      }
    } catch (IOException e) {
      throw FileErrors.translate("read", folder, e);
    }
    return changed;
  }

  private static boolean isCandidate(Path file, String name) throws IOException {
    return MoreFiles.getFileExtension(file).equals("json")
        && !name.equals("config.json")
        && !name.endsWith(".index.json")
        && Files.isRegularFile(file)
        && Files.size(file) <= MAX_BYTES
        && Files.readString(file, StandardCharsets.ISO_8859_1).contains("experts.");
  }
}
