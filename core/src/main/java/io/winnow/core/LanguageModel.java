package io.winnow.core;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import java.nio.file.Path;
import java.util.Set;

/**
 * A running Mixture-of-Experts language model that predicts tokens: all logits of a text, or those
 * of the next token from a cache.
 *
 * <p>A model loaded by {@code MoeModels} is one (see {@link #of}). A loop of one's own looks like
 * this:
 *
 * <pre>{@code
 * LanguageModel languageModel = LanguageModel.of(model);
 * try (TokenCache cache = languageModel.newCache(0);
 *     NDManager manager = model.getNDManager().newSubManager()) {
 *   NDArray logits = languageModel.next(manager.create(prompt, new Shape(1, prompt.length)), cache);
 *   long token = logits.argMax(-1).toLongArray()[0];
 *   ...
 * }
 * }</pre>
 *
 * <p>Several threads may use a model at once, each with a cache and arrays of its own.
 */
public interface LanguageModel extends MoeModel {
  /** Returns the folder of the checkpoint that the model was loaded from. */
  Path sourceFolder();

  /** Returns the tokens at which a text ends, by {@code generation_config.json} or config.json. */
  Set<Long> endTokens();

  /**
   * Computes the logits of every token, showing the layers to an observer.
   *
   * @param ids token ids {@code [sequences, length]} int64
   * @return float32 {@code [sequences, length, vocabulary]}, owned by the manager of {@code ids}
   * @throws InvalidInputException if the ids are of another shape or vocabulary, or more than the
   *     model's positions
   */
  NDArray logits(NDArray ids, ForwardObserver observer);

  /**
   * Creates an empty cache for generation; the caller closes it.
   *
   * @param padding how many of each sequence's first positions are padding; as many numbers as
   *     there are sequences
   * @throws InvalidInputException if there is none, or one is negative
   */
  TokenCache newCache(long... padding);

  /**
   * Takes new tokens and computes the logits of the last one.
   *
   * @param ids the tokens behind those in the cache, {@code [sequences, tokens]} int64
   * @param cache what {@link #newCache} or {@link #expand(TokenCache, int[], int)} returned; the
   *     tokens are added to it
   * @return float32 {@code [sequences, 1, vocabulary]}, owned by the manager of {@code ids}
   * @throws InvalidInputException if the sequences grow longer than the model's positions, or the
   *     cache is of another model or number of sequences
   */
  default NDArray next(NDArray ids, TokenCache cache) {
    return next(ids, cache, 1);
  }

  /**
   * Takes new tokens and computes the logits of the last {@code count}; otherwise like {@link
   * #next(NDArray, TokenCache)}.
   *
   * @param count from 1 to the number of new tokens
   * @return float32 {@code [sequences, count, vocabulary]}, owned by the manager of {@code ids}
   */
  NDArray next(NDArray ids, TokenCache cache, int count);

  /**
   * Creates a cache whose sequences continue those of another: several may continue the same, which
   * is computed once. The caller closes both.
   *
   * @param cache is only read
   * @param sources the sequence of {@code cache} that each new one continues
   * @param tokens how many more positions will be taken, to make room for them at once
   * @throws InvalidInputException if there are no such sequences, or the cache is of another model
   */
  TokenCache expand(TokenCache cache, int[] sources, int tokens);

  /**
   * Creates a cache like {@link #expand(TokenCache, int[], int)}, in which the tokens to come are
   * padded.
   *
   * @param cache has no padding
   * @param padding how many of each new sequence's next positions are padding
   */
  TokenCache expand(TokenCache cache, int[] sources, int tokens, long[] padding);

  /**
   * Takes new tokens behind others whose keys and values the caller holds.
   *
   * @param ids the new tokens, {@code [sequences, tokens]} int64
   * @param past keys, then values of each layer, {@code [sequences, keyValueHeads, length,
   *     headSize]} float32, which are only read; empty at the beginning. Latent attention has one
   *     head, of rotated keys and of latent vectors
   * @param padding how many of each sequence's first positions are padding
   * @return float32 logits {@code [sequences, tokens, vocabulary]}, normalised hidden states {@code
   *     [sequences, tokens, hiddenSize]}, then the keys and values of all tokens; owned by the
   *     manager of {@code ids}
   * @throws InvalidInputException if the arrays do not fit each other or the model
   */
  NDList step(NDArray ids, NDList past, long... padding);

  /**
   * Returns the language model inside a DJL model.
   *
   * @throws InvalidInputException if its block is no {@link LanguageModel}
   */
  static LanguageModel of(Model model) {
    if (model.getBlock() instanceof LanguageModel languageModel) {
      return languageModel;
    }
    throw new InvalidInputException(
        "Model '"
            + model.getName()
            + "' was not loaded by MoeModels and cannot generate; load it with MoeModels.load, or"
            + " let its block implement LanguageModel");
  }
}
