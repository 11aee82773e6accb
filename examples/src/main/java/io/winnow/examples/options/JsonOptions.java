package io.winnow.examples.options;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import io.winnow.examples.files.Outputs;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** {@code --json}: the result of a command in a file, beside what it prints. */
public final class JsonOptions {
  private static final Gson GSON =
      new GsonBuilder().setPrettyPrinting().serializeNulls().disableHtmlEscaping().create();

  @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
  private @Nullable Path json;

  /** Refuses a file that cannot be written, before any work is done for it. */
  public void check() {
    Outputs.requireFile("--json", json);
  }

  /** Writes the result if it is wanted; to a pipe too, such as {@code /dev/stdout}. */
  public void write(Supplier<JsonObject> result) throws IOException {
    if (json != null) {
      Files.writeString(json, GSON.toJson(result.get()) + "\n");
    }
  }
}
