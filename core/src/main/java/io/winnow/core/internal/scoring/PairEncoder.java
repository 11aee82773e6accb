package io.winnow.core.internal.scoring;

import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalLong;

/**
 * Cuts texts into tokens exactly as lm-evaluation-harness 0.4.13 does: with the special tokens that
 * the tokenizer puts around a text, unless the text begins with the prefix token itself.
 */
public final class PairEncoder {
  private final TextTokenizer tokenizer;
  private final OptionalLong prefixToken;

  /**
   * Creates an encoder.
   *
   * @param prefixToken stands for an empty context
   */
  public PairEncoder(TextTokenizer tokenizer, OptionalLong prefixToken) {
    this.tokenizer = tokenizer;
    this.prefixToken = prefixToken;
  }

  /** Encodes a text. */
  public long[] encode(String text) {
    if (prefixToken.isPresent()) {
      long[] plain = tokenizer.encode(text);
      if (plain.length > 0 && plain[0] == prefixToken.getAsLong()) {
        return plain;
      }
    }
    return tokenizer.encodeWithSpecialTokens(text);
  }

  /** Returns the token that stands for an empty context. */
  public static long require(OptionalLong prefixToken) {
    return prefixToken.orElseThrow(
        () ->
            new InvalidInputException(
                "A text without a context needs a prefix token, and the checkpoint's"
                    + " tokenizer_config.json names no bos_token or eos_token that is one token;"
                    + " give it by withPrefixToken"));
  }

  /**
   * Encodes a context and its continuations. Blanks at the context's end move to the continuations,
   * of which the tokens are those of the whole text behind as many as the context has. The prefix
   * token stands for a context without tokens.
   */
  public Continuations encode(String context, List<String> continuations) {
    String stripped = withoutTrailingBlanks(context);
    String blanks = context.substring(stripped.length());
    // The harness adds special tokens to a context of nothing but blanks, and none to an empty one.
    long[] contextIds = context.isEmpty() ? new long[0] : encode(stripped);
    if (contextIds.length == 0) {
      contextIds = new long[] {require(prefixToken)};
      List<long[]> ids = new ArrayList<>();
      for (String continuation : continuations) {
        long[] all = tokenizer.encode(blanks + continuation);
        boolean begun = all.length > 0 && all[0] == contextIds[0];
        ids.add(begun ? Arrays.copyOfRange(all, 1, all.length) : all);
      }
      return new Continuations(contextIds, ids);
    }
    List<long[]> ids = new ArrayList<>();
    for (String continuation : continuations) {
      long[] whole = encode(context + continuation);
      ids.add(Arrays.copyOfRange(whole, Math.min(contextIds.length, whole.length), whole.length));
    }
    return new Continuations(contextIds, ids);
  }

  /** Like Python's {@code rstrip}. */
  private static String withoutTrailingBlanks(String text) {
    int end = text.length();
    while (end > 0 && PythonText.isBlank(text.charAt(end - 1))) {
      end--;
    }
    return text.substring(0, end);
  }
}
