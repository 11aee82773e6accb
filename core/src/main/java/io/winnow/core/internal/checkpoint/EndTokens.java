package io.winnow.core.internal.checkpoint;

import com.google.common.collect.ImmutableSet;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The tokens at which a checkpoint's texts end. */
public final class EndTokens {
  private static final String FIELD = "eos_token_id";
  private static final String TEXT_MODEL = "text_config";

  private EndTokens() {}

  /**
   * Reads {@code eos_token_id}, one or several: of generation_config.json, else of config.json,
   * else of the text model's part of that. A negative number stands for no token, as in
   * Transformers.
   */
  public static Set<Long> of(Checkpoint checkpoint) {
    Path file = checkpoint.folder().resolve("generation_config.json");
    if (Files.isRegularFile(file)) {
      Optional<Set<Long>> tokens =
          parse(file, FIELD, JsonFiles.read(file, "the settings of generation").get(FIELD));
      if (tokens.isPresent()) {
        return tokens.get();
      }
    }
    Path configFile = checkpoint.folder().resolve(Checkpoint.CONFIG);
    JsonObject config = checkpoint.config().json();
    return parse(configFile, FIELD, config.get(FIELD))
        .or(
            () ->
                config.get(TEXT_MODEL) instanceof JsonObject text
                    ? parse(configFile, TEXT_MODEL + "." + FIELD, text.get(FIELD))
                    : Optional.empty())
        .orElse(Set.of());
  }

  /** Returns the tokens, or nothing where another file has to say it. */
  private static Optional<Set<Long>> parse(Path file, String field, @Nullable JsonElement element) {
    if (element == null
        || element.isJsonNull()
        || element instanceof JsonArray list && list.isEmpty()) {
      return Optional.empty();
    }
    ImmutableSet.Builder<Long> tokens = ImmutableSet.builder();
    for (JsonElement one : element instanceof JsonArray list ? list : List.of(element)) {
      if (one.isJsonNull()) {
        continue;
      }
      try {
        long token = one.getAsJsonPrimitive().getAsBigDecimal().longValueExact();
        if (token >= 0) {
          tokens.add(token);
        }
      } catch (ArithmeticException
          | NumberFormatException
          | IllegalStateException
          | UnsupportedOperationException e) {
        throw new InvalidInputException(
            file + ": " + field + " is " + element + ", expected a token id or a list of them", e);
      }
    }
    return Optional.of(tokens.build());
  }
}
