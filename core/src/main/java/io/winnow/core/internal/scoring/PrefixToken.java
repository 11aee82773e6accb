package io.winnow.core.internal.scoring;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.internal.file.JsonFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/**
 * The token that a text without context is conditioned on: the tokenizer's {@code bos_token}, else
 * its {@code eos_token}, as in lm-evaluation-harness.
 */
public final class PrefixToken {
  private PrefixToken() {}

  /** Reads a checkpoint's tokenizer_config.json; empty if that names no such token. */
  public static OptionalLong of(Path folder, TextTokenizer tokenizer) {
    Path file = folder.resolve("tokenizer_config.json");
    if (Files.isRegularFile(file)) {
      JsonObject config = JsonFiles.read(file, "the tokenizer's settings");
      for (String field : List.of("bos_token", "eos_token")) {
        String text = text(config.get(field));
        long[] ids = text == null ? new long[0] : tokenizer.encode(text);
        if (ids.length == 1) {
          return OptionalLong.of(ids[0]);
        }
      }
    }
    return OptionalLong.empty();
  }

  /** A token is written as a string, or as an object with its settings. */
  private static @Nullable String text(@Nullable JsonElement token) {
    JsonElement content = token instanceof JsonObject object ? object.get("content") : token;
    return content != null && content.isJsonPrimitive() ? content.getAsString() : null;
  }
}
