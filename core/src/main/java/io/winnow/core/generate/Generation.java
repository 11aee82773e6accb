package io.winnow.core.generate;

import com.google.common.primitives.Longs;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** What a {@link Generator} added to one prompt. Immutable and thread-safe. */
public final class Generation {
  private final List<Long> tokens;
  private final Optional<String> text;
  private final FinishReason finishReason;

  Generation(List<Long> tokens, Optional<String> text, FinishReason finishReason) {
    this.tokens = List.copyOf(tokens);
    this.text = text;
    this.finishReason = finishReason;
  }

  /** Returns the new token ids, an end token and those of a stop string included. */
  public List<Long> tokens() {
    return tokens;
  }

  /**
   * Returns their text without the end token, up to where a stop string starts; after {@link
   * FinishReason#CANCELLED} what the listener was given. Empty if the generator has no tokenizer.
   */
  public Optional<String> text() {
    return text;
  }

  /** Returns why there are no more. */
  public FinishReason finishReason() {
    return finishReason;
  }

  /** Returns the new token ids as an array of the caller's own, {@code [tokens]}. */
  public long[] tokenIds() {
    return Longs.toArray(tokens);
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Generation that
        && tokens.equals(that.tokens)
        && text.equals(that.text)
        && finishReason == that.finishReason;
  }

  @Override
  public int hashCode() {
    return Objects.hash(tokens, text, finishReason);
  }

  @Override
  public String toString() {
    return String.format("Generation[%s, %s, %s]", tokens, text.orElse("no text"), finishReason);
  }

  /** Why a sequence ended. */
  public enum FinishReason {
    /** The model gave one of the end tokens. */
    END_TOKEN,
    /** The text came to contain a stop string. */
    STOP_STRING,
    /** There are as many new tokens as were asked for, or as the model has positions. */
    LENGTH,
    /** The listener did not want more. */
    CANCELLED
  }
}
