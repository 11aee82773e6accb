package io.winnow.core.generate;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.collect.ImmutableSet;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LanguageModel;
import io.winnow.core.TokenCache;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.scoring.SharedPrefix;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * Continues token sequences, alone or in batches, greedily or by drawing, with a key/value cache.
 *
 * <p>Immutable and thread-safe. The model and the tokenizer stay the caller's to close, and must be
 * open while a generation runs; each generation frees what it took.
 */
public final class Generator {
  private static final TokenListener NOBODY = (sequence, token, text) -> true;

  private final Model model;
  private final LanguageModel languageModel;
  private final ImmutableSet<Long> endTokens;
  private final @Nullable TextTokenizer tokenizer;

  private Generator(
      Model model,
      LanguageModel languageModel,
      Set<Long> endTokens,
      @Nullable TextTokenizer tokenizer) {
    this.model = model;
    this.languageModel = languageModel;
    this.endTokens = ImmutableSet.copyOf(endTokens);
    this.tokenizer = tokenizer;
  }

  /**
   * Creates a generator that stops at the end tokens of the checkpoint's configuration.
   *
   * @param model a model loaded by {@code MoeModels}, or one whose block is a {@link LanguageModel}
   * @throws InvalidInputException if it is another model
   */
  public static Generator of(Model model) {
    LanguageModel languageModel = LanguageModel.of(model);
    return new Generator(model, languageModel, languageModel.endTokens(), null);
  }

  /**
   * Returns a generator that stops at these tokens only, at none if there are none, unless a {@link
   * GenerationConfig} names others.
   */
  public Generator withEndTokens(Set<Long> newEndTokens) {
    return new Generator(model, languageModel, newEndTokens, tokenizer);
  }

  /**
   * Returns a generator that gives text too, and can stop at stop strings.
   *
   * @param newTokenizer the model's tokenizer, which stays open as long as the generator is used
   */
  public Generator withTokenizer(TextTokenizer newTokenizer) {
    return new Generator(model, languageModel, endTokens, newTokenizer);
  }

  /**
   * Continues a prompt greedily. Of two equal logits the lower token id wins.
   *
   * @param prompt token ids, at least one
   * @param maxTokens the greatest number of new tokens; fewer come where the model's positions end
   * @return the new tokens, an end token included
   * @throws InvalidInputException if the prompt is empty, too long, or of another vocabulary
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public long[] generate(long[] prompt, int maxTokens) {
    return generate(prompt, GenerationConfig.greedy(maxTokens)).tokenIds();
  }

  /**
   * Continues a prompt.
   *
   * @param prompt token ids, at least one
   * @param config how tokens are chosen, and when to stop
   * @throws InvalidInputException if the prompt is empty, too long, or of another vocabulary, or
   *     there are stop strings and no tokenizer
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public Generation generate(long[] prompt, GenerationConfig config) {
    return generate(prompt, config, NOBODY);
  }

  /**
   * Continues a prompt and tells of every token; otherwise like {@link #generate(long[],
   * GenerationConfig)}.
   *
   * @param listener is called in this thread; what it throws ends the generation
   */
  public Generation generate(long[] prompt, GenerationConfig config, TokenListener listener) {
    return generate(List.of(prompt), config, listener).get(0);
  }

  /**
   * Continues a text, with the special tokens that the tokenizer puts around a prompt, and tells of
   * every token.
   *
   * @param prompt the text, which the result does not repeat
   * @param config how tokens are chosen, and when to stop
   * @param listener is called in this thread; what it throws ends the generation
   * @throws InvalidInputException if there is no tokenizer, or the prompt's tokens do not fit
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public Generation generate(String prompt, GenerationConfig config, TokenListener listener) {
    if (tokenizer == null) {
      throw new InvalidInputException(
          "A text as prompt needs a tokenizer; give it by withTokenizer, or the prompt as token"
              + " ids");
    }
    return generate(tokenizer.encodeWithSpecialTokens(prompt), config, listener);
  }

  /**
   * Continues a text; otherwise like {@link #generate(String, GenerationConfig, TokenListener)}.
   */
  public Generation generate(String prompt, GenerationConfig config) {
    return generate(prompt, config, NOBODY);
  }

  /**
   * Continues several prompts together; otherwise like {@link #generate(List, GenerationConfig,
   * TokenListener)}.
   */
  public List<Generation> generate(List<long[]> prompts, GenerationConfig config) {
    return generate(prompts, config, NOBODY);
  }

  /**
   * Continues several prompts of any lengths together. Each gets the tokens that it gets alone, as
   * far as the arithmetic is exact: sums are formed in another order, which in bfloat16 can decide
   * between two nearly equal logits. A sequence that has ended gets no more tokens and takes no
   * more experts, while its place in the attention stays taken until the last has ended.
   *
   * @param prompts token ids, at least one each
   * @param config how tokens are chosen, and when to stop
   * @param listener is called in this thread; what it throws ends the generation
   * @return the results in the prompts' order
   * @throws InvalidInputException if there is no prompt, one is empty, too long, or of another
   *     vocabulary, or there are stop strings and no tokenizer
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public List<Generation> generate(
      List<long[]> prompts, GenerationConfig config, TokenListener listener) {
    check(prompts);
    if (!config.stopStrings().isEmpty() && tokenizer == null) {
      throw new InvalidInputException(
          "Stop strings need a tokenizer; give it by withTokenizer, or stop at end tokens");
    }
    List<Sequence> sequences = new ArrayList<>();
    for (long[] prompt : prompts) {
      sequences.add(
          new Sequence(
              sequences.size(),
              prompt,
              languageModel.maxPositions(),
              config,
              config.endTokens().orElse(endTokens),
              tokenizer,
              listener));
    }
    List<Sequence> active = unfinished(sequences);
    while (!active.isEmpty()) {
      runBatch(active);
      active = unfinished(active);
    }
    return sequences.stream().map(Sequence::result).toList();
  }

  private void check(List<long[]> prompts) {
    if (prompts.isEmpty()) {
      throw new InvalidInputException("There are no prompts; give at least one");
    }
    for (int i = 0; i < prompts.size(); i++) {
      long[] prompt = prompts.get(i);
      String name = prompts.size() == 1 ? "The prompt" : "Prompt " + i;
      if (prompt.length == 0) {
        throw new InvalidInputException(name + " has no tokens; give it at least one");
      }
      if (prompt.length > languageModel.maxPositions()) {
        throw new InvalidInputException(
            String.format(
                "%s has %d tokens, more than the model's %d positions; shorten it",
                name, prompt.length, languageModel.maxPositions()));
      }
      for (int at = 0; at < prompt.length; at++) {
        if (prompt[at] < 0 || prompt[at] >= languageModel.vocabularySize()) {
          throw new InvalidInputException(
              String.format(
                  "%s has token id %d at position %d, outside the vocabulary of %d; was the text"
                      + " tokenised for another model?",
                  name, prompt[at], at, languageModel.vocabularySize()));
        }
      }
    }
  }

  private static List<Sequence> unfinished(List<Sequence> sequences) {
    return sequences.stream().filter(sequence -> !sequence.ended()).toList();
  }

  /**
   * Generates until all sequences have ended, or the longest takes all positions. Then a shorter
   * one, whose padding took some, may go on in a batch of its own.
   */
  private void runBatch(List<Sequence> sequences) {
    int shared = SharedPrefix.length(sequences.stream().map(Sequence::tokens).toList());
    int width = sequences.stream().mapToInt(Sequence::length).max().orElseThrow() - shared;
    long[] padding = new long[sequences.size()];
    long[] input = new long[sequences.size() * width];
    for (int i = 0; i < padding.length; i++) {
      long[] own = sequences.get(i).tokens();
      padding[i] = width - (own.length - shared);
      System.arraycopy(own, shared, input, i * width + (int) padding[i], own.length - shared);
    }
    try (TokenCache cache = cache(sequences.get(0).tokens(), shared, width, padding)) {
      do {
        Interruption.check("The generation was interrupted");
        float[] logits = next(input, padding.length, cache);
        int vocabulary = logits.length / padding.length;
        for (int i = 0; i < padding.length; i++) {
          Sequence sequence = sequences.get(i);
          if (!sequence.ended()) {
            sequence.advance(Arrays.copyOfRange(logits, i * vocabulary, (i + 1) * vocabulary));
            if (sequence.ended()) {
              cache.end(i);
            }
          }
        }
        input = sequences.stream().mapToLong(Sequence::last).toArray();
      } while (cache.length() < languageModel.maxPositions()
          && !sequences.stream().allMatch(Sequence::ended));
    }
  }

  private TokenCache cache(long[] tokens, int shared, int width, long[] padding) {
    if (shared == 0) {
      return languageModel.newCache(padding);
    }
    try (TokenCache prefix = languageModel.newCache(0)) {
      next(Arrays.copyOf(tokens, shared), 1, prefix);
      return languageModel.expand(prefix, new int[padding.length], width, padding);
    }
  }

  private float[] next(long[] input, int sequences, TokenCache cache) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(input, new Shape(sequences, input.length / sequences));
      return languageModel.next(ids, cache).toFloatArray();
    }
  }
}
