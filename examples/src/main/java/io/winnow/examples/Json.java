package io.winnow.examples;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** JSON files of the commands' results. */
public final class Json {
  private static final Gson GSON =
      new GsonBuilder().setPrettyPrinting().serializeNulls().disableHtmlEscaping().create();

  private Json() {}

  static void write(Path file, JsonElement json) throws IOException {
    Files.writeString(file, GSON.toJson(json) + "\n");
  }
}
