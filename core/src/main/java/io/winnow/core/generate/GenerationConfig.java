package io.winnow.core.generate;

import com.google.common.collect.ImmutableSet;
import io.winnow.core.InvalidInputException;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * How a {@link Generator} chooses tokens and when it stops. Immutable and thread-safe.
 *
 * <p>The names and meanings are those of Hugging Face Transformers, and so is the order: repetition
 * penalty, temperature, top-k, top-p, min-p, each on what the one before left; then a token is
 * drawn with the softmax of what remains. Of equal logits the lower token id comes first.
 */
public final class GenerationConfig {
  private final int maxTokens;
  private final double temperature;
  private final int topK;
  private final double topP;
  private final double minP;
  private final double repetitionPenalty;
  private final long seed;
  private final Optional<Set<Long>> endTokens;
  private final List<String> stopStrings;

  private GenerationConfig(Builder builder) {
    maxTokens = builder.maxTokens;
    temperature = builder.temperature;
    topK = builder.topK;
    topP = builder.topP;
    minP = builder.minP;
    repetitionPenalty = builder.repetitionPenalty;
    seed = builder.seed;
    endTokens = builder.endTokens;
    stopStrings = builder.stopStrings;
    require(maxTokens >= 1, "The number of new tokens must be at least 1, is " + maxTokens);
    require(
        temperature >= 0 && Double.isFinite(temperature),
        "The temperature must be at least 0 (0 is greedy) and finite, is " + temperature);
    require(topK >= 0, "Top-k must be at least 1, or 0 for all tokens, is " + topK);
    require(topP > 0 && topP <= 1, "Top-p must be above 0 and at most 1 (all tokens), is " + topP);
    require(minP >= 0 && minP <= 1, "Min-p must be from 0 (all tokens) to 1, is " + minP);
    require(
        repetitionPenalty > 0 && Double.isFinite(repetitionPenalty),
        "The repetition penalty must be above 0 (1 changes nothing) and finite, is "
            + repetitionPenalty);
    require(
        temperature > 0 || (topK == 0 && topP == 1 && minP == 0),
        String.format(
            "Top-k (%d), top-p (%s) and min-p (%s) mean nothing at temperature 0, which always takes"
                + " the best token; set a temperature above 0, or leave them out",
            topK, topP, minP));
    require(
        stopStrings.stream().noneMatch(String::isEmpty),
        "A stop string is empty, which would stop every text at once; leave it out");
  }

  /** Returns the greatest number of new tokens, at least 1. */
  public int maxTokens() {
    return maxTokens;
  }

  /** Returns what logits are divided by before drawing; 0 takes the best token (greedy). */
  public double temperature() {
    return temperature;
  }

  /** Returns how many of the likeliest tokens to draw from; 0 for all. */
  public int topK() {
    return topK;
  }

  /**
   * Returns the sum that the probabilities of the tokens to draw from reach, which are as few of
   * the likeliest as do; 1 for all.
   */
  public double topP() {
    return topP;
  }

  /**
   * Returns the part of the likeliest token's probability below which tokens are left out; 0 for
   * none.
   */
  public double minP() {
    return minP;
  }

  /**
   * Returns what the logits of tokens in the prompt and in the new text are divided by if positive,
   * and multiplied by if negative; 1 for nothing.
   */
  public double repetitionPenalty() {
    return repetitionPenalty;
  }

  /**
   * Returns the seed of the draws; sequence {@code i} of a batch draws as a single one with {@code
   * seed + i} does.
   */
  public long seed() {
    return seed;
  }

  /** Returns the tokens that end a sequence; empty for those of the generator. */
  public Optional<Set<Long>> endTokens() {
    return endTokens;
  }

  /** Returns texts that end a sequence; they need a tokenizer. */
  public List<String> stopStrings() {
    return stopStrings;
  }

  private static void require(boolean condition, String message) {
    if (!condition) {
      throw new InvalidInputException(message);
    }
  }

  /**
   * Returns the configuration that always takes the best token.
   *
   * @param maxTokens the greatest number of new tokens
   * @throws InvalidInputException if it is less than 1
   */
  public static GenerationConfig greedy(int maxTokens) {
    return builder(maxTokens).build();
  }

  /**
   * Begins a configuration, greedy until it gets a temperature.
   *
   * @param maxTokens the greatest number of new tokens
   */
  public static Builder builder(int maxTokens) {
    return new Builder(maxTokens);
  }

  /** Returns a builder that begins with this configuration. */
  public Builder toBuilder() {
    Builder builder = new Builder(maxTokens);
    builder.temperature = temperature;
    builder.topK = topK;
    builder.topP = topP;
    builder.minP = minP;
    builder.repetitionPenalty = repetitionPenalty;
    builder.seed = seed;
    builder.endTokens = endTokens;
    builder.stopStrings = stopStrings;
    return builder;
  }

  private List<Object> values() {
    return List.of(
        maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, endTokens, stopStrings);
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof GenerationConfig that && values().equals(that.values());
  }

  @Override
  public int hashCode() {
    return values().hashCode();
  }

  @Override
  public String toString() {
    return String.format(
        "GenerationConfig[maxTokens=%d, temperature=%s, topK=%d, topP=%s, minP=%s,"
            + " repetitionPenalty=%s, seed=%d, endTokens=%s, stopStrings=%s]",
        values().toArray());
  }

  /** Collects the options of a {@link GenerationConfig}. Not thread-safe. */
  public static final class Builder {
    private final int maxTokens;
    private double temperature;
    private int topK;
    private double topP = 1;
    private double minP;
    private double repetitionPenalty = 1;
    private long seed;
    private Optional<Set<Long>> endTokens = Optional.empty();
    private List<String> stopStrings = List.of();

    private Builder(int maxTokens) {
      this.maxTokens = maxTokens;
    }

    /** Sets what logits are divided by before drawing; 0, the default, takes the best token. */
    public Builder optTemperature(double newTemperature) {
      temperature = newTemperature;
      return this;
    }

    /** Sets how many of the likeliest tokens to draw from; 0, the default, for all. */
    public Builder optTopK(int newTopK) {
      topK = newTopK;
      return this;
    }

    /** Sets the probability that the tokens to draw from reach together; 1, the default: all. */
    public Builder optTopP(double newTopP) {
      topP = newTopP;
      return this;
    }

    /** Sets the least probability of a token, as a part of the likeliest's; 0 by default. */
    public Builder optMinP(double newMinP) {
      minP = newMinP;
      return this;
    }

    /** Sets the penalty of tokens seen already; 1, the default, is none, more discourages. */
    public Builder optRepetitionPenalty(double newPenalty) {
      repetitionPenalty = newPenalty;
      return this;
    }

    /** Sets the seed of the draws; 0 by default, so that the same call gives the same text. */
    public Builder optSeed(long newSeed) {
      seed = newSeed;
      return this;
    }

    /** Sets the tokens that end a sequence, none if there are none; by default the generator's. */
    public Builder optEndTokens(Set<Long> newEndTokens) {
      endTokens = Optional.of(ImmutableSet.copyOf(newEndTokens));
      return this;
    }

    /** Sets texts that end a sequence; they are left out of its text. */
    public Builder optStopStrings(String... newStopStrings) {
      stopStrings = List.of(newStopStrings);
      return this;
    }

    /**
     * Returns the configuration.
     *
     * @throws InvalidInputException if a value is out of its range, or a rule for drawing is set at
     *     temperature 0
     */
    public GenerationConfig build() {
      return new GenerationConfig(this);
    }
  }
}
