package io.winnow.core.generate;

import com.google.common.primitives.Longs;
import java.util.List;
import java.util.Optional;

/**
 * What a {@link Generator} added to one prompt. Immutable and thread-safe.
 *
 * @param tokens the new token ids, an end token and those of a stop string included
 * @param text their text without the end token, up to where a stop string starts; after {@link
 *     FinishReason#CANCELLED} what the listener was given; empty if the generator has no tokenizer
 * @param finishReason why there are no more
 */
public record Generation(List<Long> tokens, Optional<String> text, FinishReason finishReason) {

  /** Creates a result. */
  public Generation {
    tokens = List.copyOf(tokens);
  }

  /** Returns the new token ids as an array of the caller's own, {@code [tokens]}. */
  public long[] tokenIds() {
    return Longs.toArray(tokens);
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
