package io.winnow.core.generate;

import com.google.common.primitives.ImmutableLongArray;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.Generation.FinishReason;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;

/** One prompt of a batch and what became of it. Not thread-safe. */
final class Sequence {
  private final int index;
  private final Set<Long> endTokens;
  private final TokenListener listener;
  private final TokenSampler sampler;
  private final RandomGenerator random;
  private final @Nullable TextAssembler text;
  private final BitSet seen = new BitSet();
  private final int promptLength;
  private final int most;
  private long[] tokens;
  private int length;
  private @Nullable FinishReason finishReason;

  Sequence(
      int index,
      long[] prompt,
      int maxPositions,
      GenerationConfig config,
      Set<Long> endTokens,
      @Nullable TextTokenizer tokenizer,
      TokenListener listener) {
    this.index = index;
    this.endTokens = endTokens;
    this.listener = listener;
    sampler = new TokenSampler(config);
    random = new SplittableRandom(config.seed() + index);
    text = tokenizer == null ? null : new TextAssembler(tokenizer::decode, config.stopStrings());
    promptLength = prompt.length;
    length = prompt.length;
    most = Math.min(config.maxTokens(), maxPositions - prompt.length);
    tokens = prompt.clone();
    for (long token : prompt) {
      seen.set((int) token);
    }
    if (most == 0) {
      finishReason = FinishReason.LENGTH;
    }
  }

  boolean ended() {
    return finishReason != null;
  }

  /** Returns how many tokens there are, those of the prompt included. */
  int length() {
    return length;
  }

  /** Returns the last token. */
  long last() {
    return tokens[length - 1];
  }

  /** Returns the tokens, those of the prompt included. */
  long[] tokens() {
    return Arrays.copyOf(tokens, length);
  }

  /** Chooses the next token by its logits, which are changed, and tells the listener. */
  void advance(float[] logits) {
    long token = sampler.choose(logits, seen, random);
    seen.set((int) token);
    if (length == tokens.length) {
      tokens = Arrays.copyOf(tokens, length + Math.max(16, length / 2));
    }
    tokens[length++] = token;
    if (endTokens.contains(token)) {
      finishReason = FinishReason.END_TOKEN;
    } else if (text != null) {
      text.add(token);
      finishReason = text.stopped() ? FinishReason.STOP_STRING : null;
    }
    if (finishReason == null && length - promptLength == most) {
      finishReason = FinishReason.LENGTH;
    }
    String piece = text == null ? "" : ended() ? text.takeRest() : text.take();
    if (!listener.onToken(index, token, piece) && !ended()) {
      finishReason = FinishReason.CANCELLED;
    }
  }

  Generation result() {
    FinishReason reason = finishReason;
    if (reason == null) {
      throw new IllegalStateException("Sequence " + index + " has not ended");
    }
    return new Generation(
        ImmutableLongArray.copyOf(tokens).subArray(promptLength, length).asList(),
        Optional.ofNullable(text).map(TextAssembler::taken),
        reason);
  }
}
