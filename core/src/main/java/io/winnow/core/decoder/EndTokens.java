package io.winnow.core.decoder;

import com.google.common.collect.ImmutableSet;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.checkpoint.Checkpoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The tokens at which a checkpoint's texts end. */
final class EndTokens {
  private static final String FIELD = "eos_token_id";

  private EndTokens() {}

  /** Reads {@code eos_token_id}, one or several, of generation_config.json, else of config.json. */
  static Set<Long> of(Checkpoint checkpoint) {
    Path file = checkpoint.folder().resolve("generation_config.json");
    if (Files.isRegularFile(file)) {
      Set<Long> tokens = parse(file, read(file).get(FIELD));
      if (!tokens.isEmpty()) {
        return tokens;
      }
    }
    return parse(checkpoint.folder().resolve("config.json"), checkpoint.config().json().get(FIELD));
  }

  private static JsonObject read(Path file) {
    try {
      if (JsonParser.parseString(Files.readString(file)) instanceof JsonObject json) {
        return json;
      }
      throw new InvalidInputException(file + " holds no JSON object; correct or remove it");
    } catch (IOException | JsonParseException e) {
      throw new InvalidInputException(
          "Cannot read " + file + ": " + e.getMessage() + "; correct or remove it", e);
    }
  }

  private static Set<Long> parse(Path file, @Nullable JsonElement element) {
    if (element == null || element.isJsonNull()) {
      return Set.of();
    }
    ImmutableSet.Builder<Long> tokens = ImmutableSet.builder();
    try {
      if (element.isJsonArray()) {
        element.getAsJsonArray().forEach(token -> tokens.add(token.getAsLong()));
      } else {
        tokens.add(element.getAsLong());
      }
    } catch (NumberFormatException | IllegalStateException | UnsupportedOperationException e) {
      throw new InvalidInputException(
          file + ": " + FIELD + " is " + element + ", expected a token id or a list of them", e);
    }
    return tokens.build();
  }
}
