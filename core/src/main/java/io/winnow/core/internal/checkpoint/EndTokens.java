package io.winnow.core.internal.checkpoint;

import com.google.common.collect.ImmutableSet;
import com.google.gson.JsonElement;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The tokens at which a checkpoint's texts end. */
public final class EndTokens {
  private static final String FIELD = "eos_token_id";

  private EndTokens() {}

  /** Reads {@code eos_token_id}, one or several, of generation_config.json, else of config.json. */
  public static Set<Long> of(Checkpoint checkpoint) {
    Path file = checkpoint.folder().resolve("generation_config.json");
    if (Files.isRegularFile(file)) {
      Set<Long> tokens = parse(file, JsonFiles.read(file, "the settings of generation").get(FIELD));
      if (!tokens.isEmpty()) {
        return tokens;
      }
    }
    return parse(checkpoint.folder().resolve("config.json"), checkpoint.config().json().get(FIELD));
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
